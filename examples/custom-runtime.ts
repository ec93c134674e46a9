/**
 * An application that serves a model itself: it answers HTTP requests with a small classifier, changes to a new version
 * without a gap, and refuses one that does not work.
 *
 * The node hands each version to the application's `Runtime`: `load` reads it aside, `check` tries it on samples whose
 * answers are known and only then lets requests reach it. Until then the old version answers; when the check fails it
 * simply goes on, and the whole mesh can read why.
 *
 * `node custom-runtime.js`. In this repository: `npm run build && npm run build:bench`, then
 * `node .build/examples/custom-runtime.js`.
 */
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createMeshSecret, createNode, type AbortOptions, type Runtime, type RuntimeArtifact } from 'murmurate'

/** A linear classifier over the width and height of a thing, in metres, as it stands in the model file. */
interface ModelFile {
  /** Per label the weights of width and height, and the bias. */
  readonly classes: Readonly<Record<string, readonly [width: number, height: number, bias: number]>>
  /** Samples with their right answers: a version that gets one wrong must not serve. */
  readonly samples: readonly { readonly width: number; readonly height: number; readonly label: string }[]
}

interface LoadedModel extends ModelFile {
  readonly version: string
}

/** The label with the highest score. */
function classify({ classes }: ModelFile, width: number, height: number): string {
  const scores = Object.entries(classes).map(([label, [w, h, bias]]) => [label, w * width + h * height + bias] as const)
  const best = scores.reduce((a, b) => (b[1] > a[1] ? b : a), ['nothing', -Infinity])
  return best[0]
}

/** The application's side of a rollout. */
class ClassifierRuntime implements Runtime {
  readonly #beforeSwitch: (version: string) => Promise<void>
  #candidate: LoadedModel | undefined
  #serving: LoadedModel | undefined

  constructor(beforeSwitch: (version: string) => Promise<void>) {
    this.#beforeSwitch = beforeSwitch
  }

  /** The version that answers requests. */
  get serving(): LoadedModel | undefined {
    return this.#serving
  }

  async load({ version, files }: RuntimeArtifact, { signal }: AbortOptions): Promise<void> {
    const file = files.find(({ name }) => name === 'classifier.json')
    if (file === undefined) throw new Error('the release has no classifier.json')
    const content = JSON.parse(await readFile(file.path, { encoding: 'utf8', signal })) as ModelFile
    this.#candidate = { version, ...content }
  }

  async check(): Promise<void> {
    const candidate = this.#candidate
    if (candidate === undefined) throw new Error('nothing is loaded')
    await this.#beforeSwitch(candidate.version)
    for (const { width, height, label } of candidate.samples) {
      const answer = classify(candidate, width, height)
      if (answer !== label) throw new Error(`a ${label} of ${width} m x ${height} m was taken for a ${answer}`)
    }
    // One assignment: a request sees the old version or the new one, never a mixture.
    this.#serving = candidate
  }

  unload(): Promise<void> {
    this.#candidate = this.#serving = undefined
    return Promise.resolve()
  }
}

/** The application's own service, `GET /?width=...&height=...`. */
async function serve(runtime: ClassifierRuntime): Promise<Server> {
  const server = createServer((request, response) => {
    const query = new URL(request.url ?? '/', 'http://localhost').searchParams
    const model = runtime.serving
    response.statusCode = model === undefined ? 503 : 200
    const label =
      model === undefined ? 'no model yet' : classify(model, Number(query.get('width')), Number(query.get('height')))
    response.end(JSON.stringify({ version: model?.version ?? null, label }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

/** What the service says about the thing that this example asks about all the time, 12 m x 3 m. */
async function ask(): Promise<string> {
  const { port } = server.address() as AddressInfo
  const response = await fetch(`http://127.0.0.1:${port}/?width=12&height=3`)
  return response.text()
}

const model = 'classifier'
const directory = await mkdtemp(join(tmpdir(), 'custom-runtime-'))
const runtime = new ClassifierRuntime(async (version) => console.log(`while ${version} is checked: ${await ask()}`))
const server = await serve(runtime)
const node = await createNode({
  dataDir: join(directory, 'node'),
  secret: createMeshSecret(),
  // Only for this example: a real node is reachable on all its interfaces, which is the default.
  listen: ['/ip4/127.0.0.1/tcp/0'],
  // Called once for each model; this application knows only one.
  runtime: () => runtime
})

/** Publishes a version and rolls it out; any other node of the mesh could do the same. */
async function rollOut(version: string, content: ModelFile): Promise<void> {
  const path = join(directory, `${version}.json`)
  await writeFile(path, JSON.stringify(content))
  await node.models.publish(model, version, [{ id: 'json', files: [{ path, name: 'classifier.json' }] }])
  await node.distribution.distributeModel(model, version)
  for await (const { state, blockers } of node.distribution.subscribeConvergence(model, version)) {
    if (state === 'running') continue
    console.log(`${version} ${blockers.length === 0 ? 'runs' : 'was refused'}`)
    for (const { reason, message } of blockers) console.log(`  ${reason}: ${message}`)
  }
  console.log(`after ${version}: ${await ask()}`)
}

await node.start()
try {
  console.log(`before: ${await ask()}`)
  const samples = [
    { width: 1, height: 2, label: 'person' },
    { width: 8, height: 3, label: 'truck' }
  ]
  await rollOut('1.0.0', { classes: { person: [-1, 1, 2], truck: [1, 0, 0] }, samples })
  const withBus = [...samples, { width: 14, height: 3, label: 'bus' }]
  await rollOut('2.0.0', { classes: { person: [-1, 1, 2], truck: [1, 0, 0], bus: [2, 0, -10] }, samples: withBus })
  // A training run that went wrong: it sees buses everywhere.
  await rollOut('3.0.0', { classes: { person: [-1, 1, 2], truck: [1, 0, 0], bus: [2, 0, 10] }, samples: withBus })
} finally {
  await node.stop()
  server.close()
  await rm(directory, { recursive: true, force: true })
}
