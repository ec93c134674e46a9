/** One node of the demo, in a process of its own: does what it is asked over the channel to its parent. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MurmurateError, messageOf } from '../../core/errors.js'
import { createNode, directoryRuntime, type MurmurateNode, type NodeModelStatus } from '../../index.js'
import type { DemoCalls, DemoMethod, DemoNodeInit, DemoReply, DemoRequest } from './messages.js'

const checkScript = fileURLToPath(new URL('./check-model.js', import.meta.url))

let node: MurmurateNode | undefined

function send(reply: DemoReply): void {
  if (process.connected) process.send?.(reply)
}

function running(): MurmurateNode {
  if (node === undefined) throw new MurmurateError('NOT_STARTED', 'The demo node was not started')
  return node
}

async function start({
  dataDir,
  secret,
  name,
  capabilities,
  storageBytes
}: DemoNodeInit): Promise<DemoCalls['start']['result']> {
  const made = await createNode({
    dataDir,
    secret,
    name,
    capabilities,
    listen: ['/ip4/127.0.0.1/tcp/0'],
    runtime: directoryRuntime({ directory: join(dataDir, 'models'), check: [process.execPath, checkScript] }),
    ...(storageBytes === undefined ? {} : { storageBytes })
  })
  node = made
  made.fleet.onChange(() => send({ event: 'members', online: countOnline(made) }))
  made.progress.watch((progress) => send({ event: 'progress', progress }))
  await made.start()
  return { nodeId: made.id }
}

function countOnline({ fleet }: MurmurateNode): number {
  return fleet.members().filter(({ online }) => online).length
}

function statuses(model: string): NodeModelStatus[] {
  const { fleet, distribution } = running()
  return fleet.members().flatMap(({ nodeId }) => distribution.nodeModelStatus(model, nodeId) ?? [])
}

async function watch({ model, version }: DemoCalls['watch']['params']): Promise<DemoCalls['watch']['result']> {
  const { distribution } = running()
  for await (const status of distribution.subscribeConvergence(model, version, { wait: true })) {
    send({ event: 'convergence', status, nodes: statuses(model) })
  }
  return distribution.convergenceStatus(model, version)
}

const calls: { [M in DemoMethod]: (params: DemoCalls[M]['params']) => Promise<DemoCalls[M]['result']> } = {
  start,
  watch,
  id: () => Promise.resolve(running().id),
  members: () => Promise.resolve(countOnline(running())),
  statuses: ({ model }) => Promise.resolve(statuses(model)),
  publish: async ({ model, version, variants }) => {
    await running().models.publish(model, version, variants)
    return null
  },
  distribute: async ({ model, version, scope, from }) => {
    const { distribution } = running()
    if (from === undefined) await distribution.distributeModel(model, version, scope, 'high')
    else await distribution.distributeModelDelta(model, from, version, scope, 'high')
    return null
  },
  stop: async () => {
    await node?.stop()
    return null
  }
}

async function answer({ id, method, params }: DemoRequest): Promise<void> {
  try {
    // The parent is the same version of the same program, so the parameters fit the method.
    const result = await (calls[method] as (params: unknown) => Promise<unknown>)(params)
    send({ id, result })
  } catch (error) {
    const code = error instanceof MurmurateError ? error.code : 'INTERNAL'
    send({ id, error: { code, message: messageOf(error) } })
  }
}

process.on('message', (request: DemoRequest) => void answer(request))
// Without a parent there is nobody to serve.
process.on('disconnect', () => void (node?.stop() ?? Promise.resolve()).finally(() => process.exit()))
