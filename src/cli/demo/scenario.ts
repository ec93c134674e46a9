import { Listr, type ListrTask } from 'listr2'
import { cast, model, variantsOf } from './cast.js'
import type { DemoFleet } from './fleet.js'
import type { ModelFileInit } from './model-file.js'
import type { DemoResult } from './report.js'
import { RolloutRun, type RolloutResult } from './rollout-run.js'
import { sizeText, verdictText } from './rollout-view.js'

type Story = { -readonly [Key in keyof DemoResult]?: DemoResult[Key] }

const nameWidth = 8

/** Everything that the demo shows, in order: find each other, deliver, update, and refuse a bad version. */
export async function runScenario(fleet: DemoFleet): Promise<DemoResult> {
  const story: Story = {}
  const tasks = new Listr(
    [
      discovery(fleet, story),
      publication(fleet, story, '1.0.0', 'the first version', {}),
      rollout(fleet, '1.0.0', undefined, (result) => (story.full = result)),
      publication(fleet, story, '2.0.0', 'one layer retrained', { changedLayers: new Map([[7, 2]]) }),
      rollout(fleet, '2.0.0', '1.0.0', (result) => (story.delta = result)),
      publication(fleet, story, '3.0.0', 'a training run that diverged', {
        changedLayers: new Map([[7, 2]]),
        diverged: true
      }),
      rollout(fleet, '3.0.0', '2.0.0', (result) => (story.failing = result))
    ],
    {
      registerSignalListeners: false,
      rendererOptions: { collapseSubtasks: false },
      fallbackRendererOptions: { timestamp: undefined }
    }
  )
  await tasks.run()
  const { discoveredMs, full, delta, failing, fileBytes } = story
  if (
    discoveredMs === undefined ||
    full === undefined ||
    delta === undefined ||
    failing === undefined ||
    fileBytes === undefined
  ) {
    throw new RangeError('The demo ended before its last step')
  }
  return { discoveredMs, full, delta, failing, fileBytes }
}

function discovery(fleet: DemoFleet, story: Story): ListrTask {
  return {
    title: `${cast.length} nodes start, each a process with a key of its own`,
    task: async (_, task) => {
      let fewest = 0
      const ms = await fleet.start((seen) => {
        if (Math.min(...seen) === fewest) return
        fewest = Math.min(...seen)
        task.output = `every node sees ${fewest} of ${cast.length}`
      })
      story.discoveredMs = ms
      task.title = `${cast.length} nodes found each other by mDNS in ${(ms / 1000).toFixed(1)} s; no server`
    }
  }
}

function publication(
  fleet: DemoFleet,
  story: Story,
  version: string,
  what: string,
  init: Omit<ModelFileInit, 'precision'>
): ListrTask {
  return {
    title: `${cast[0]?.name ?? ''} publishes ${model} ${version}: ${what}`,
    task: async (_, task) => {
      const fp16 = await fleet.makeModel(`${version}-fp16.safetensors`, { ...init, precision: 'fp16' })
      const int8 = await fleet.makeModel(`${version}-int8.safetensors`, { ...init, precision: 'int8' })
      story.fileBytes = { 'fp16-cuda': fp16.sizeBytes, 'int8-cuda': int8.sizeBytes }
      await fleet.publisher.call('publish', { model, version, variants: variantsOf(fp16.path, int8.path) })
      task.title += ` (fp16 ${sizeText(fp16.sizeBytes)}, int8 ${sizeText(int8.sizeBytes)})`
    }
  }
}

function rollout(
  fleet: DemoFleet,
  version: string,
  from: string | undefined,
  onResult: (result: RolloutResult) => void
): ListrTask {
  return {
    title: `Rollout of ${version}${from === undefined ? '' : ` over ${from}`} to all nodes with a GPU`,
    task: (_, task) => {
      const run = new RolloutRun(fleet, version)
      const lines = run.names.map((name) => nodeLine(run, name))
      const verdict: ListrTask = {
        title: 'verdict: being computed from the shared document',
        task: async (_context, verdictTask) => {
          const result = await run.run(from)
          onResult(result)
          verdictTask.title = `${verdictText(result.status)}, after ${result.seconds.toFixed(1)} s`
        }
      }
      return task.newListr([...lines, verdict], { concurrent: true })
    }
  }
}

function nodeLine(run: RolloutRun, name: string): ListrTask {
  const label = name.padEnd(nameWidth)
  return {
    title: `${label} waits`,
    task: (_, task) =>
      new Promise<void>((resolve) => {
        run.follow(name, (text, settled) => {
          if (text !== '') task.title = `${label} ${text}`
          if (settled) resolve()
        })
      })
  }
}
