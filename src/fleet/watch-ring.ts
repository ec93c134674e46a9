import type { NodeId } from '../core/ids.js'

/**
 * The nearest peers of a node on both sides of the ring of all ids, the nearest first. Whom a node watches: where everyone
 * knows everyone the choice is mutual, so each node has exactly `count` watchers; with partial views it has at least those
 * that it chose itself, since a watch goes both ways. Ids are public keys, which lie evenly on the ring without a hash.
 */
export function ringNeighbours(node: NodeId, peers: readonly NodeId[], count: number): NodeId[] {
  const sorted = peers.filter((peer) => peer !== node).sort((one, two) => (one < two ? -1 : 1))
  const after = sorted.findIndex((peer) => peer > node)
  const start = after < 0 ? sorted.length : after
  const nearest = Array.from({ length: Math.min(count, sorted.length) }, (_, step) => {
    const offset = step % 2 === 0 ? step / 2 : -(step + 1) / 2
    return sorted[(start + offset + sorted.length) % sorted.length]
  })
  return nearest.flatMap((peer) => peer ?? [])
}
