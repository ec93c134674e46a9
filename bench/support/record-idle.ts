/** What the record of a mesh costs a node when nothing happens: computed from its settings, and measured with whole nodes. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createMeshSecret, createNode, type MurmurateNode } from '../../src/index.js'
import { encodeSync, saltBytes, type SyncMessage } from '../../src/record/sync-messages.js'
import { documentInit } from './corpus.js'
import { median, rounded, usage } from './usage.js'

/** Sent and received by a node, and its part of the CPU of the process. */
export interface Idle {
  readonly bytesPerSecond: number
  readonly cpuPercent: number
}

/** What a record at rest sends by its settings. */
export interface ComputedIdle {
  readonly bytesPerSecond: number
  readonly messagesPerSecond: number
}

/**
 * A node begins a round of anti-entropy with one peer every period and answers about one. Equal documents of any size exchange one
 * digest and its answer, each behind four bytes of length. Streams and links have their own overhead, which is measured.
 */
export function computeIdle(): ComputedIdle {
  const messages: SyncMessage[] = [
    { type: 'open', salt: new Uint8Array(saltBytes), digest: new Uint8Array(16) },
    { type: 'equal' }
  ]
  const roundBytes = messages.reduce((sum, message) => sum + encodeSync(message).byteLength + 4, 0)
  const roundsPerSecond = 2000 / documentInit.syncPeriodMs
  return {
    bytesPerSecond: rounded(roundBytes * roundsPerSecond, 1),
    messagesPerSecond: rounded(messages.length * roundsPerSecond, 2)
  }
}

/** Starts nodes in this process, each linked with a few, and watches them for a while. */
export async function measureIdle(
  count: number,
  { seconds, directory }: { readonly seconds: number; readonly directory: string }
): Promise<Idle> {
  const secret = createMeshSecret()
  const nodes: MurmurateNode[] = []
  for (let at = 0; at < count; at++) {
    const peers = Array.from({ length: Math.min(at, 4) }, (_, number) => nodes[(at * 3 + number * 11) % at])
    const node = await createNode({
      dataDir: `${directory}/idle-${count}-${at}`,
      secret,
      discovery: false,
      listen: ['/ip4/127.0.0.1/tcp/0'],
      peers: [...new Set(peers.flatMap((peer) => peer?.addresses ?? []))]
    })
    await node.start()
    nodes.push(node)
  }
  await sleep(10_000)
  const [bytesBefore, before] = [nodes.map(bytesOf), usage()]
  await sleep(seconds * 1000)
  const [bytesAfter, after] = [nodes.map(bytesOf), usage()]
  const wallS = after.wallS - before.wallS
  for (const node of nodes) await node.stop()
  return {
    bytesPerSecond: rounded(median(bytesAfter.map((bytes, at) => (bytes - (bytesBefore[at] ?? 0)) / wallS)), 1),
    cpuPercent: rounded(((after.cpuS - before.cpuS) / wallS / count) * 100, 3)
  }
}

function bytesOf(node: MurmurateNode): number {
  const { sentBytes, receivedBytes } = node.traffic()
  return sentBytes + receivedBytes
}
