/** How long an entry takes from its write until every node of a mesh can read it, beside a bare gossip message. */
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemEnvironment } from '../../src/core/environment.js'
import { silentLogger } from '../../src/core/logger.js'
import type { KeyPair } from '../../src/identity/keypair.js'
import { createMeshSecret, deriveMeshKeys } from '../../src/identity/mesh-secret.js'
import { Libp2pNetwork } from '../../src/net/libp2p-network.js'
import { RecordLog } from '../../src/record/log.js'
import { SharedDocument } from '../../src/record/shared-document.js'
import { statusKind, statusPage, noStatus } from '../../src/rollout/status.js'
import { parseModelId } from '../../src/core/ids.js'
import { documentInit, kinds } from './corpus.js'
import { quantile, rounded, settled } from './usage.js'

/**
 * A node dials so many of those before it: numbers 0, 11, 22 and 33, or their remainders. These get 19 to 49 links, and the last 16
 * of 50 nodes have links to these four only.
 */
const dialled = 4
/** Time for gossipsub to make its meshes: a heartbeat is a second. */
const settleMs = 5000
/** Between two messages, so that none waits for another or for the tick of gossip. */
const pauseMs = 150
/** About what an entry with its envelope has. */
const bareBytes = 400
const bareTopic = 'bare'
const model = parseModelId('model-0')

/** Milliseconds from write to visible everywhere, and from publishing bare bytes to heard everywhere. */
export interface Propagation {
  readonly p50: number
  readonly p99: number
  readonly bareP50: number
  readonly bareP99: number
}

class Node {
  readonly network: Libp2pNetwork
  readonly document: SharedDocument
  readonly keyPair: KeyPair

  constructor(keyPair: KeyPair, network: Libp2pNetwork, path: string) {
    this.keyPair = keyPair
    this.network = network
    const log = new RecordLog(path, new Uint8Array(32))
    const components = { network, keyPair, log, environment: systemEnvironment, logger: silentLogger }
    this.document = new SharedDocument(components, documentInit)
    for (const kind of kinds) this.document.register(kind)
  }
}

/** Alternates messages of both sorts from different nodes of one mesh. */
export async function measurePropagation(
  keyPairs: readonly KeyPair[],
  { messages, directory }: { readonly messages: number; readonly directory: string }
): Promise<Propagation> {
  const nodes = await startMesh(keyPairs, directory)
  const [ours, bare]: [number[], number[]] = [[], []]
  let heardAt: number[] = []
  for (const { network, document } of nodes) {
    network.subscribe(bareTopic, () => {
      heardAt.push(performance.now())
      return 'accept'
    })
    document.subscribe(statusKind, () => void heardAt.push(performance.now()))
  }
  const time = async (send: () => Promise<unknown>, hearers: number): Promise<number> => {
    heardAt = []
    const begin = performance.now()
    await send()
    await settled(() => heardAt.length >= hearers)
    await sleep(pauseMs)
    return Math.max(...heardAt) - begin
  }
  await sleep(settleMs)
  for (let number = 0; number < messages; number++) {
    const { document, network, keyPair } = nodes[(number * 7) % nodes.length] ?? startOf(nodes)
    const body = { ...noStatus, since: number }
    ours.push(await time(() => document.write(statusKind, statusPage(model, keyPair.nodeId), body), nodes.length))
    const bytes = systemEnvironment.random.bytes(bareBytes)
    bare.push(await time(() => network.publish(bareTopic, bytes), nodes.length - 1))
  }
  for (const { document } of nodes) await document.stop()
  await Promise.all(nodes.map(({ network }) => network.stop()))
  const at = (times: readonly number[], part: number): number => rounded(quantile(times, part), 1)
  return { p50: at(ours, 0.5), p99: at(ours, 0.99), bareP50: at(bare, 0.5), bareP99: at(bare, 0.99) }
}

function startOf(nodes: readonly Node[]): Node {
  const [first] = nodes
  if (first === undefined) throw new Error('The mesh has no nodes')
  return first
}

async function startMesh(keyPairs: readonly KeyPair[], directory: string): Promise<Node[]> {
  const meshKeys = deriveMeshKeys(createMeshSecret())
  const nodes: Node[] = []
  for (const [at, keyPair] of keyPairs.entries()) {
    const peers = Array.from({ length: Math.min(at, dialled) }, (_, number) => nodes[(at * 3 + number * 11) % at])
    const network = new Libp2pNetwork({
      keyPair,
      meshKeys,
      listen: ['/ip4/127.0.0.1/tcp/0'],
      peers: [...new Set(peers.flatMap((peer) => peer?.network.addresses() ?? []))],
      discovery: false,
      environment: systemEnvironment,
      logger: silentLogger
    })
    const node = new Node(keyPair, network, `${directory}/propagation-${at}`)
    await node.document.start()
    await network.start()
    nodes.push(node)
  }
  await settled(() => nodes.every(({ network }) => network.peers().length > 0))
  return nodes
}
