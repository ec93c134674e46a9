import type { NodeId } from '../core/ids.js'
import type { ChunkList } from './chunk-list.js'
import { digestOf } from './cid.js'
import { exchangeLimits } from './exchange.js'

/** The pieces of a file: runs of chunks of up to 1 MiB and 64 chunks. */
export function pieceStarts(chunks: ChunkList): Uint32Array {
  const starts = [0]
  let first = 0
  for (let chunk = 0; chunk < chunks.count; chunk++) {
    const isTooLong = chunks.offset(chunk + 1) - chunks.offset(first) > exchangeLimits.requestBytes
    if (!isTooLong && chunk - first < exchangeLimits.requestChunks) continue
    starts.push(chunk)
    first = chunk
  }
  if (chunks.count > 0) starts.push(chunks.count)
  return Uint32Array.from(starts)
}

/** Keeps only as many chunks as fit in the runs of one request; gives the others back. */
export function limitRanges(picked: readonly number[], giveBack: (chunk: number) => void): readonly number[] {
  const sorted = picked.toSorted((a, b) => a - b)
  let ranges = 0
  const end = sorted.findIndex((chunk, index) => {
    if (index === 0 || chunk !== (sorted[index - 1] ?? 0) + 1) ranges++
    return ranges > exchangeLimits.requestRanges
  })
  if (end === -1) return sorted
  for (const chunk of sorted.slice(end)) giveBack(chunk)
  return sorted.slice(0, end)
}

/** 32 bits of a node id that are the same on every node. */
export function hashOf(peer: NodeId): number {
  return Buffer.from(digestOf(Buffer.from(peer))).readUInt32BE(0)
}

/** Rendezvous hash: the finaliser of MurmurHash3 over both. */
export function rank(peerHash: number, piece: number): number {
  let hash = peerHash ^ Math.imul(piece + 1, 0x9e3779b1)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** The pieces of which something is wanted, in the order of a node's own rank. */
export function rankedPieces(selfHash: number, wanted: Uint16Array): Uint32Array {
  const ranks = Uint32Array.from(wanted, (_, piece) => rank(selfHash, piece))
  const pieces = [...ranks.keys()].filter((piece) => (wanted[piece] ?? 0) > 0)
  return Uint32Array.from(pieces.sort((a, b) => (ranks[b] ?? 0) - (ranks[a] ?? 0)))
}
