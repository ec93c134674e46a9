import { raceSignal } from '../core/abort.js'
import { equalBytes } from '../core/codec.js'
import type { Clock } from '../core/environment.js'
import { MurmurateError } from '../core/errors.js'
import { shortId, type NodeId } from '../core/ids.js'
import type { Bitfield } from './bitfield.js'
import type { Part } from './blob-store.js'
import { digestOf } from './cid.js'
import type { BlobsKnobs } from './defaults.js'
import { exchangeLimits, type ChunkRange, type RejectReason } from './exchange.js'
import type { PeerPool } from './peer-pool.js'
import type { InterestListener, PeerSession } from './peer-session.js'
import { Picker } from './picker.js'

/** Parts that fetching from peers needs. */
export interface SwarmFetchComponents {
  readonly self: NodeId
  readonly pool: PeerPool
  readonly clock: Clock
  readonly knobs: BlobsKnobs
  /** Bytes that all files have received and not yet written. */
  readonly backlog: { bytes: number }
  /** Told of each chunk that was verified and written, and who sent it. */
  readonly onChunk: (chunk: number, peer: NodeId) => void
  /** Told of each wrong chunk. */
  readonly onWrong: (peer: NodeId) => void
}

/**
 * Fetches the missing chunks of a part from whichever peers have them. Every chunk is verified before it is written; a peer
 * that is late, leaves or sends wrong bytes is replaced. It ends when nothing is missing, and else only by its signal.
 */
export class SwarmFetch implements InterestListener {
  readonly #part: Part
  readonly #components: SwarmFetchComponents
  readonly #picker: Picker
  readonly #done = Promise.withResolvers<void>()
  /** The number of the interest at each peer that was asked. */
  readonly #joined = new Map<PeerSession, number>()
  readonly #joining = new Set<NodeId>()
  /** Peers that had nothing, and when to ask them again. */
  readonly #askAgainAt = new Map<NodeId, number>()
  readonly #writes = new Set<Promise<void>>()
  #unwritten = 0
  #lastProgressAt: number
  #nextRefreshAt = 0
  #isOver = false

  constructor(part: Part, components: SwarmFetchComponents) {
    this.#part = part
    this.#components = components
    this.#picker = new Picker(components.self, part.chunks, part.held)
    this.#lastProgressAt = this.#now()
  }

  /**
   * Runs until all chunks are there; nothing is being written any more when it settles.
   *
   * @throws MurmurateError `ABORTED`, and what the store throws
   */
  async run(signal: AbortSignal): Promise<void> {
    try {
      this.tick(this.#now())
      await raceSignal(this.#done.promise, signal)
    } finally {
      this.#isOver = true
      for (const [session, interest] of this.#joined) session.leave(interest)
      this.#joined.clear()
      await Promise.all(this.#writes)
    }
  }

  /** Called every now and then: joins new peers, asks for more. */
  tick(now: number): void {
    if (this.#isOver) return
    for (const peer of this.#components.pool.candidates()) {
      if ((this.#askAgainAt.get(peer) ?? 0) <= now) this.#join(peer)
    }
    if (this.#isStalled(now) && now >= this.#nextRefreshAt) this.#refresh(now)
    this.#pumpAll()
  }

  /** A peer has become interested in this file: it will have chunks soon. */
  notice(peer: NodeId): void {
    this.#askAgainAt.delete(peer)
    if (!this.#isOver && this.#components.pool.candidates().includes(peer)) this.#join(peer)
  }

  /** Why nothing comes in; undefined while something does. */
  stalledBecause(now: number): string | undefined {
    const { pool } = this.#components
    if (this.#isOver || !this.#isStalled(now)) return undefined
    if (pool.candidates().length === 0 && this.#joined.size === 0) return 'no peer that may be asked is connected'
    const { peers } = this.#picker
    if (peers.length === 0) return `no connected peer has any chunk of file ${this.#part.file}`
    const chunk = this.#picker.unavailable()
    if (chunk !== undefined) return `no peer has chunk ${chunk} of file ${this.#part.file}`
    return `waiting for ${peers.map(shortId).join(', ')} to answer`
  }

  onBitfield(session: PeerSession, held: Bitfield): void {
    this.#picker.addPeer(session.peer, held, this.#now())
    this.#pump(session)
  }

  onHave(session: PeerSession, ranges: readonly ChunkRange[]): void {
    for (const { first, count } of ranges) this.#picker.have(session.peer, first, count, this.#now())
    this.#pump(session)
  }

  onRefused(session: PeerSession): void {
    this.#joined.delete(session)
    this.#askAgainAt.set(session.peer, this.#now() + this.#components.knobs.retryMs)
  }

  onChunk(session: PeerSession, chunk: number, bytes: Uint8Array): void {
    if (this.#isOver) return
    if (equalBytes(digestOf(bytes), this.#part.chunks.digest(chunk))) return this.#take(session, chunk, bytes)
    this.#components.onWrong(session.peer)
    session.refuse(
      new MurmurateError('BLOB_CORRUPT', `The peer sent wrong bytes for chunk ${chunk} of ${this.#part.file}`)
    )
  }

  onNoChunk(session: PeerSession, chunk: number, reason: RejectReason): void {
    if (reason === 'not-held' || reason === 'failed') this.#picker.lacks(session.peer, chunk)
    else this.#picker.release(session.peer, chunk)
    this.#pumpAll()
  }

  onLate(session: PeerSession, chunk: number): void {
    this.#picker.release(session.peer, chunk)
    this.#pumpAll()
  }

  onClosed(session: PeerSession): void {
    this.#joined.delete(session)
    this.#picker.removePeer(session.peer)
    this.#pumpAll()
  }

  #isStalled(now: number): boolean {
    return now - this.#lastProgressAt >= this.#components.knobs.stallMs
  }

  /** Asks peers anew what they have: one that could not read a chunk a while ago may be able to now. */
  #refresh(now: number): void {
    this.#nextRefreshAt = now + this.#components.knobs.stallMs
    for (const [session, interest] of this.#joined) {
      if (session.owedBytes > 0) continue
      session.leave(interest)
      this.#joined.delete(session)
      this.#join(session.peer)
    }
  }

  #now(): number {
    return this.#components.clock.monotonic()
  }

  #join(peer: NodeId): void {
    const isJoined = [...this.#joined.keys()].some((session) => session.peer === peer)
    if (isJoined || this.#joining.has(peer)) return
    this.#joining.add(peer)
    void this.#components.pool.session(peer).then((session) => {
      this.#joining.delete(peer)
      if (this.#isOver || session?.hasInterestLeft !== true) return
      this.#joined.set(session, session.join(this.#part.file, this.#part.chunks, this))
    })
  }

  #pumpAll(): void {
    for (const session of this.#joined.keys()) this.#pump(session)
  }

  /** Asks a peer for as much as it may be asked for, and as we can take. */
  #pump(session: PeerSession): void {
    const interest = this.#joined.get(session)
    if (this.#isOver || interest === undefined) return
    while (session.freeBytes > 0 && this.#hasRoom()) {
      const chunks = this.#picker.pick(session.peer, session.freeBytes, this.#now())
      if (chunks.length === 0) return
      session.request(interest, chunks)
    }
  }

  #hasRoom(): boolean {
    const { pool, backlog, knobs } = this.#components
    return pool.owedBytes + backlog.bytes + exchangeLimits.requestBytes <= knobs.outstandingBytes
  }

  #take(session: PeerSession, chunk: number, bytes: Uint8Array): void {
    const others = this.#picker.received(session.peer, chunk)
    if (others === undefined) return
    for (const [other, interest] of this.#joined) if (others.includes(other.peer)) other.cancel(interest, chunk)
    const writing = this.#write(session, chunk, bytes).finally(() => this.#writes.delete(writing))
    this.#writes.add(writing)
    this.#pump(session)
  }

  /** Never rejects: a failure of the disk ends the fetch. */
  async #write(session: PeerSession, chunk: number, bytes: Uint8Array): Promise<void> {
    const { backlog, onChunk } = this.#components
    backlog.bytes += bytes.byteLength
    this.#unwritten++
    try {
      await this.#part.write(chunk, bytes, { isVerified: true })
    } catch (error) {
      return this.#done.reject(error)
    } finally {
      backlog.bytes -= bytes.byteLength
      this.#unwritten--
    }
    this.#lastProgressAt = this.#now()
    onChunk(chunk, session.peer)
    if (this.#picker.missingChunks === 0 && this.#unwritten === 0) this.#done.resolve()
    else this.#pump(session)
  }
}
