/** One murmurate node in a process of its own; it does what the bench asks. */
import { createNode, isSuccess, nodes, type MurmurateNode, type NodeId } from 'murmurate'
import { answer } from './child.js'
import { usage, type Usage } from './usage.js'

/** What a node is started with. */
export interface NodeOptions {
  readonly dataDir: string
  readonly secret: string
  readonly discovery: boolean
  readonly peers: readonly string[]
}

/** What was seen of a rollout. */
export interface RolloutFigures {
  /** Seconds from the order to the verdict that all have converged, both in the process that ordered. */
  readonly wallS: number
  /** Seconds of the longest transfer among these, as its node measured it. */
  readonly transferS: number
}

const model = 'bench'
const version = '1.0.0'
let node: MurmurateNode | undefined

function running(): MurmurateNode {
  if (node === undefined) throw new Error('The node was not started')
  return node
}

const calls = {
  /** Starts the node on loopback. */
  start: async (options: NodeOptions): Promise<{ readonly id: NodeId; readonly addresses: readonly string[] }> => {
    node = await createNode({ ...options, listen: ['/ip4/127.0.0.1/tcp/0'] })
    await node.start()
    return { id: node.id, addresses: node.addresses }
  },

  /** Resolves when the node is linked with all others of a mesh of this many. */
  meshed: (members: number): Promise<void> => running().fleet.waitFor(members),

  /** Publishes a file as the first version of the bench's model. */
  publish: async (path: string): Promise<void> => {
    await running().models.publish(model, version, [{ id: 'default', files: [{ path }] }])
  },

  /** Orders that version onto these nodes and waits until all have converged. */
  distribute: async (receivers: readonly NodeId[]): Promise<RolloutFigures> => {
    const { distribution } = running()
    const begin = usage()
    await distribution.distributeModel(model, version, nodes(receivers))
    for await (const status of distribution.subscribeConvergence(model, version, { follow: true })) {
      if (status.failed > 0) throw new Error(`The rollout failed: ${JSON.stringify(status.blockers)}`)
      if (isSuccess(status) && status.totalPlatforms === receivers.length) break
    }
    const wallS = usage().wallS - begin.wallS
    const seconds = receivers.map((id) => distribution.nodeModelStatus(model, id)?.transfer?.seconds ?? NaN)
    return { wallS, transferS: Math.max(...seconds) }
  },

  /** What the process has used, and the bytes on its links. */
  usage: (): Promise<Usage & ReturnType<MurmurateNode['traffic']>> =>
    Promise.resolve({ ...usage(), ...running().traffic() })
}

/** What the bench can ask of a node. */
export type NodeCalls = typeof calls

answer(calls, async () => node?.stop())
