/**
 * Which chunk to ask of whom. Pure: no I/O, time is passed in (milliseconds, monotonic).
 *
 * Chunks are grouped into *pieces* of up to 1 MiB, the same on every node. Rules:
 * - P1 Rarest first: a piece that fewer peers hold whole goes before one that more hold.
 * - P2 Ties by the node's own rank, hash(self, piece): receivers begin at different places.
 * - P3 A piece that only sources have belongs to one receiver, the one with the highest hash(receiver, piece) among those that
 *   are making progress. Others ask a source for at most one such foreign piece at a time: they will get it from its owner.
 *   With four receivers the source so sends each byte about once, instead of 1.3 times with random ties.
 * - P4 Nothing is asked twice, except at the end: of the last 16 chunks, one that has been under way for long is asked of a
 *   second peer, and the slower one is cancelled.
 */
import type { NodeId } from '../core/ids.js'
import { Bitfield } from './bitfield.js'
import type { ChunkList } from './chunk-list.js'
import { exchangeLimits } from './exchange.js'
import { hashOf, limitRanges, pieceStarts, rank, rankedPieces } from './pieces.js'

/** Constants of the picker. */
export const pickerDefaults = Object.freeze({
  /** Chunks left when asking twice begins. */
  endgameChunks: 16,
  /** A chunk is asked of a second peer after this long: several times what 1 MiB takes on a slow link of 4 MB/s. */
  endgameAfterMs: 1000,
  /** Peers asked for the same chunk. */
  endgameAskers: 2,
  /** A receiver that got nothing for this long owns no pieces. */
  idleReceiverMs: 3000
})

interface Peer {
  readonly hash: number
  readonly has: Bitfield
  /** Pieces that it has whole. */
  readonly whole: Bitfield
  lastNewsAt: number
}

interface Asked {
  readonly peers: Set<NodeId>
  /** When it was first asked for. */
  readonly since: number
}

/** Keeps track of who has what of one file, what is asked of whom, and chooses what to ask next. */
export class Picker {
  readonly #chunks: ChunkList
  readonly #missing: Bitfield
  readonly #selfHash: number
  /** First chunk of each piece, and the number of chunks. */
  readonly #starts: Uint32Array
  readonly #pieceOf: Uint32Array
  /** Chunks of each piece that are neither here nor asked for. */
  readonly #wanted: Uint16Array
  /** Chunks of each piece that are asked for. */
  readonly #askedIn: Uint16Array
  /** How many peers have each piece whole. */
  readonly #holders: Uint16Array
  /** Pieces that are not here, in the order of this node's own rank. */
  #order: Uint32Array
  readonly #peers = new Map<NodeId, Peer>()
  readonly #asked = new Map<number, Asked>()
  #wantedChunks: number
  #foreignPiece: number | undefined

  /** @param held - the chunks that are here already; not kept */
  constructor(self: NodeId, chunks: ChunkList, held: Bitfield) {
    this.#chunks = chunks
    this.#selfHash = hashOf(self)
    this.#missing = Bitfield.empty(chunks.count)
    for (const chunk of held.zeros()) this.#missing.set(chunk)
    this.#wantedChunks = this.#missing.ones
    this.#starts = pieceStarts(chunks)
    this.#pieceOf = new Uint32Array(chunks.count)
    const pieces = this.#starts.length - 1
    this.#wanted = new Uint16Array(pieces)
    this.#askedIn = new Uint16Array(pieces)
    this.#holders = new Uint16Array(pieces)
    for (let piece = 0; piece < pieces; piece++) this.#countPiece(piece)
    this.#order = rankedPieces(this.#selfHash, this.#wanted)
  }

  /** Chunks that have not come in. */
  get missingChunks(): number {
    return this.#missing.ones
  }

  /** The peers that have told what they have. */
  get peers(): readonly NodeId[] {
    return [...this.#peers.keys()]
  }

  /** A peer says what it has. The bitfield is kept and changed here. */
  addPeer(peer: NodeId, has: Bitfield, now: number): void {
    this.removePeer(peer)
    const added: Peer = { hash: hashOf(peer), has, whole: Bitfield.empty(this.#holders.length), lastNewsAt: now }
    this.#peers.set(peer, added)
    for (let piece = 0; piece < this.#holders.length; piece++) this.#noteWhole(added, piece)
  }

  /** A peer has got more chunks. */
  have(peer: NodeId, first: number, count: number, now: number): void {
    const known = this.#peers.get(peer)
    if (known === undefined) return
    known.lastNewsAt = now
    for (let chunk = first; chunk < first + count; chunk++) {
      if (known.has.set(chunk)) this.#noteWhole(known, this.#pieceOf[chunk] ?? 0)
    }
  }

  /** A peer turns out not to have a chunk. */
  lacks(peer: NodeId, chunk: number): void {
    const known = this.#peers.get(peer)
    if (known?.has.clear(chunk) === true && known.whole.clear(this.#pieceOf[chunk] ?? 0))
      this.#count(this.#holders, chunk, -1)
    this.release(peer, chunk)
  }

  /** A peer is gone; what was asked of it may be asked of others. */
  removePeer(peer: NodeId): void {
    const known = this.#peers.get(peer)
    if (known === undefined) return
    this.#peers.delete(peer)
    for (let piece = 0; piece < this.#holders.length; piece++) {
      if (known.whole.has(piece)) this.#holders[piece] = (this.#holders[piece] ?? 1) - 1
    }
    for (const [chunk, asked] of this.#asked) if (asked.peers.has(peer)) this.release(peer, chunk)
  }

  /**
   * Chooses what to ask of a peer, and books it as asked.
   *
   * @param maxBytes - what the peer may be asked for now
   */
  pick(peer: NodeId, maxBytes: number, now: number): readonly number[] {
    const known = this.#peers.get(peer)
    if (known === undefined) return []
    const picked: number[] = []
    let left = Math.min(maxBytes, exchangeLimits.requestBytes)
    const rivals = this.#rivals(now)
    for (let more = true; more && picked.length < exchangeLimits.requestChunks;) {
      const piece = this.#best(known, rivals)
      if (piece === undefined) break
      const before = picked.length
      left = this.#take(peer, known, piece, left, now, picked)
      more = picked.length > before && left > 0
    }
    return picked.length > 0
      ? limitRanges(picked, (chunk) => this.release(peer, chunk))
      : this.#endgame(peer, known, left, now)
  }

  /** A chunk that was asked of a peer will not come from it, or not soon. */
  release(peer: NodeId, chunk: number): void {
    const asked = this.#asked.get(chunk)
    if (asked?.peers.delete(peer) !== true || asked.peers.size > 0) return
    this.#asked.delete(chunk)
    this.#count(this.#askedIn, chunk, -1)
    this.#count(this.#wanted, chunk, 1)
    this.#wantedChunks++
  }

  /**
   * A chunk has come in and was right.
   *
   * @returns the other peers that were asked for it; undefined when it had come in before
   */
  received(peer: NodeId, chunk: number): readonly NodeId[] | undefined {
    if (!this.#missing.clear(chunk)) return undefined
    const asked = this.#asked.get(chunk)
    if (asked === undefined) {
      this.#count(this.#wanted, chunk, -1)
      this.#wantedChunks--
      return []
    }
    this.#asked.delete(chunk)
    this.#count(this.#askedIn, chunk, -1)
    return [...asked.peers].filter((other) => other !== peer)
  }

  /** The first missing chunk that no peer has; undefined when there is none. */
  unavailable(): number | undefined {
    const peers = [...this.#peers.values()]
    for (let chunk = 0; chunk < this.#chunks.count; chunk++) {
      if (this.#missing.has(chunk) && !peers.some(({ has }) => has.has(chunk))) return chunk
    }
    return undefined
  }

  #take(peer: NodeId, known: Peer, piece: number, maxBytes: number, now: number, into: number[]): number {
    let left = maxBytes
    const end = this.#starts[piece + 1] ?? 0
    for (let chunk = this.#starts[piece] ?? 0; chunk < end && into.length < exchangeLimits.requestChunks; chunk++) {
      if (!this.#isWanted(chunk) || !known.has.has(chunk)) continue
      const length = this.#chunks.length(chunk)
      if (length > left) return 0
      left -= length
      this.#asked.set(chunk, { peers: new Set([peer]), since: now })
      this.#count(this.#askedIn, chunk, 1)
      this.#count(this.#wanted, chunk, -1)
      this.#wantedChunks--
      into.push(chunk)
    }
    return left
  }

  /** P1, P2, P3: lowest number of holders, own before foreign, then own rank. */
  #best(known: Peer, rivals: readonly Peer[]): number | undefined {
    this.#compact()
    const isSource = known.has.isFull
    const sources = isSource ? this.#sources() : 0
    let best: number | undefined
    let bestScore = Number.POSITIVE_INFINITY
    for (const piece of this.#order) {
      if (this.#wanted[piece] === 0) continue
      const holders = this.#holders[piece] ?? 0
      if (2 * holders >= bestScore || !this.#offers(known, piece)) continue
      const isForeign = isSource && holders <= sources && !this.#owns(piece, rivals)
      if (isForeign && this.#isForeignUnderWay(piece)) continue
      const score = 2 * holders + (isForeign ? 1 : 0)
      if (score < bestScore) [best, bestScore] = [piece, score]
      if (score <= 2) break
    }
    if (best !== undefined && bestScore % 2 === 1) this.#foreignPiece = best
    return best
  }

  #offers(known: Peer, piece: number): boolean {
    if (known.whole.has(piece)) return true
    const end = this.#starts[piece + 1] ?? 0
    for (let chunk = this.#starts[piece] ?? 0; chunk < end; chunk++) {
      if (this.#isWanted(chunk) && known.has.has(chunk)) return true
    }
    return false
  }

  #isForeignUnderWay(piece: number): boolean {
    const other = this.#foreignPiece
    return other !== undefined && other !== piece && (this.#askedIn[other] ?? 0) > 0
  }

  #owns(piece: number, rivals: readonly Peer[]): boolean {
    const own = rank(this.#selfHash, piece)
    return rivals.every(({ hash }) => rank(hash, piece) <= own)
  }

  /** The receivers that are making progress. */
  #rivals(now: number): readonly Peer[] {
    return [...this.#peers.values()].filter(
      ({ has, lastNewsAt }) => !has.isFull && now - lastNewsAt <= pickerDefaults.idleReceiverMs
    )
  }

  #sources(): number {
    let count = 0
    for (const { has } of this.#peers.values()) if (has.isFull) count++
    return count
  }

  /** P4. */
  #endgame(peer: NodeId, known: Peer, maxBytes: number, now: number): readonly number[] {
    if (this.#wantedChunks > 0 || this.#missing.ones > pickerDefaults.endgameChunks) return []
    for (const [chunk, { peers, since }] of this.#asked) {
      const isSlow = now - since >= pickerDefaults.endgameAfterMs && peers.size < pickerDefaults.endgameAskers
      if (!isSlow || peers.has(peer) || !known.has.has(chunk) || this.#chunks.length(chunk) > maxBytes) continue
      peers.add(peer)
      return [chunk]
    }
    return []
  }

  #isWanted(chunk: number): boolean {
    return this.#missing.has(chunk) && !this.#asked.has(chunk)
  }

  #noteWhole(peer: Peer, piece: number): void {
    const end = this.#starts[piece + 1] ?? 0
    for (let chunk = this.#starts[piece] ?? 0; chunk < end; chunk++) if (!peer.has.has(chunk)) return
    if (peer.whole.set(piece)) this.#holders[piece] = (this.#holders[piece] ?? 0) + 1
  }

  #countPiece(piece: number): void {
    const end = this.#starts[piece + 1] ?? 0
    for (let chunk = this.#starts[piece] ?? 0; chunk < end; chunk++) {
      this.#pieceOf[chunk] = piece
      if (this.#missing.has(chunk)) this.#count(this.#wanted, chunk, 1)
    }
  }

  /** Drops finished pieces when they have become many, so that looking for the best stays short. */
  #compact(): void {
    if (this.#missing.ones * 2 > this.#order.length) return
    this.#order = this.#order.filter((piece) => (this.#wanted[piece] ?? 0) + (this.#askedIn[piece] ?? 0) > 0)
  }

  #count(counts: Uint16Array, chunk: number, by: number): void {
    const piece = this.#pieceOf[chunk] ?? 0
    counts[piece] = (counts[piece] ?? 0) + by
  }
}
