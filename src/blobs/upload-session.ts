import { withDeadline } from '../core/abort.js'
import type { Environment, Timer } from '../core/environment.js'
import { MurmurateError, errorCode, messageOf } from '../core/errors.js'
import type { Cid } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import type { Channel } from '../net/network.js'
import type { BlobStore } from './blob-store.js'
import { codecOf } from './cid.js'
import type { ChunkList } from './chunk-list.js'
import {
  decodeAskerMessage,
  encodeMessage,
  exchangeLimits,
  noChunk,
  rangesIn,
  type AnswererMessage,
  type AskerMessage,
  type RejectReason
} from './exchange.js'
import type { Semaphore } from './semaphore.js'

/** What answering one peer needs. */
export interface UploadSessionInit {
  readonly channel: Channel
  readonly store: BlobStore
  readonly environment: Environment
  readonly logger: Logger
  /** Shared by all peers: reads from disk at the same time. */
  readonly reads: Semaphore
  /** Told of each file that the peer is interested in. */
  readonly onInterest: (file: Cid) => void
  /** HAVE messages are collected for this long. */
  readonly haveDelayMs: number
  /** A peer that takes nothing for this long is cut off. */
  readonly sendTimeoutMs: number
}

interface Interest {
  readonly file: Cid
  readonly chunks: ChunkList
  /** Chunks that came in since the last HAVE. */
  news: number[]
}

type Job = Extract<AskerMessage, { type: 'interest' | 'request' | 'want' }>
type Read = { readonly bytes: Uint8Array } | { readonly reason: RejectReason }

/** Answers one peer on one channel: one job after the other, reading one chunk ahead. */
export class UploadSession {
  readonly #init: UploadSessionInit
  readonly #channel: Channel
  readonly #interests = new Map<number, Interest>()
  readonly #queue: Job[] = []
  readonly #cancelled = new Map<number, Set<number>>()
  #current: Job | undefined
  #working: Promise<void> | undefined
  #sending: Promise<void> = Promise.resolve()
  #haveTimer: Timer | undefined
  #isOpen = true

  constructor(init: UploadSessionInit) {
    this.#init = init
    this.#channel = init.channel
  }

  /** Serves until the peer hangs up or breaks the rules. Never rejects. */
  async run(): Promise<void> {
    try {
      for await (const frame of this.#channel.frames()) this.#take(decodeAskerMessage(frame))
      await this.#working
      await this.#channel.close()
    } catch (error) {
      this.#cutOff(error)
    } finally {
      this.#isOpen = false
      this.#haveTimer?.cancel()
      await this.#working
    }
  }

  /** Tells the peer, if it cares, that a chunk has come in. */
  announce(file: Cid, chunk: number): void {
    for (const interest of this.#interests.values()) {
      if (interest.file !== file) continue
      interest.news.push(chunk)
      this.#scheduleNews()
    }
  }

  /** Hangs up. */
  abort(reason: Error): void {
    this.#isOpen = false
    this.#channel.abort(reason)
  }

  #cutOff(error: unknown): void {
    const code = errorCode(error)
    if (code !== 'NETWORK_ERROR' && code !== 'ABORTED') {
      this.#init.logger.warn(`cut off a peer: ${messageOf(error)}`, { peer: this.#channel.peer })
    }
    this.abort(error instanceof Error ? error : new MurmurateError('INTERNAL', messageOf(error)))
  }

  #take(message: AskerMessage): void {
    if (message.type === 'leave') this.#leave(message.id)
    else if (message.type === 'cancel') this.#cancel(message.id, message.chunk)
    else this.#enqueue(message)
  }

  #enqueue(job: Job): void {
    // Twice what an honest asker may have open: it counts answers that are still on their way as open.
    if (this.#queue.length >= 2 * exchangeLimits.openRequests + exchangeLimits.interests) {
      throw new MurmurateError('MALFORMED', 'The peer asked for more than the protocol allows')
    }
    // Interests and blocks are small, and the asker cannot begin without them: they go before chunks.
    const firstRequest = this.#queue.findIndex(({ type }) => type === 'request')
    if (job.type === 'request' || firstRequest === -1) this.#queue.push(job)
    else this.#queue.splice(firstRequest, 0, job)
    this.#working ??= this.#work().finally(() => (this.#working = undefined))
  }

  /** An interest that is not answered yet must not come into being afterwards: nobody would end it. */
  #leave(id: number): void {
    this.#interests.delete(id)
    const waiting = this.#queue.findIndex((job) => job.type === 'interest' && job.id === id)
    if (waiting !== -1) this.#queue.splice(waiting, 1)
    else if (this.#current?.type === 'interest' && this.#current.id === id) this.#cancelled.set(id, new Set([noChunk]))
  }

  #cancel(id: number, chunk: number): void {
    const isOpen = [this.#current, ...this.#queue].some((job) => job?.type === 'request' && job.id === id)
    if (!isOpen) return
    const chunks = this.#cancelled.get(id) ?? new Set()
    if (chunks.size < exchangeLimits.requestChunks) this.#cancelled.set(id, chunks.add(chunk))
  }

  async #work(): Promise<void> {
    try {
      while (this.#isOpen) {
        this.#current = this.#queue.shift()
        if (this.#current === undefined) return
        await this.#do(this.#current)
        this.#cancelled.delete(this.#current.id)
      }
    } catch (error) {
      this.#cutOff(error)
    }
  }

  #do(job: Job): Promise<void> {
    if (job.type === 'interest') return this.#answerInterest(job.id, job.file)
    return job.type === 'want' ? this.#answerWant(job.id, job.cid) : this.#answerRequest(job)
  }

  async #answerInterest(id: number, file: Cid): Promise<void> {
    if (this.#interests.size >= exchangeLimits.interests)
      throw new MurmurateError('MALFORMED', 'The peer has too many interests')
    const state = await this.#init.store.state(file)
    if (this.#isCancelled(id, noChunk)) return
    if (state === undefined) await this.#reject(id, noChunk, 'not-held')
    else {
      this.#interests.set(id, { file, chunks: state.chunks, news: [] })
      // The bits are copied now: what comes in from here on is told by HAVE.
      await this.#send({
        type: 'bitfield',
        interest: id,
        count: state.held.length,
        bits: Uint8Array.from(state.held.bytes)
      })
    }
    this.#init.onInterest(file)
  }

  async #answerWant(id: number, cid: Cid): Promise<void> {
    const block = codecOf(cid) === 'dag-cbor' ? await this.#init.store.getBlock(cid) : undefined
    if (block === undefined) return this.#reject(id, noChunk, 'not-held')
    const piece = exchangeLimits.blockPieceBytes
    for (let offset = 0; offset < block.byteLength; offset += piece) {
      const bytes = block.subarray(offset, offset + piece)
      await this.#send({ type: 'block', want: id, total: block.byteLength, offset, bytes })
    }
  }

  async #answerRequest(job: Extract<Job, { type: 'request' }>): Promise<void> {
    const interest = this.#interests.get(job.interest)
    const chunks = job.ranges.flatMap(({ first, count }) => Array.from({ length: count }, (_, index) => first + index))
    const bytes = chunks.reduce((total, chunk) => total + (interest?.chunks.length(chunk) ?? 0), 0)
    if (bytes > exchangeLimits.requestBytes)
      throw new MurmurateError('MALFORMED', `The peer asked for ${bytes} bytes at once`)
    let next = this.#read(job.id, interest, chunks[0])
    for (const [index, chunk] of chunks.entries()) {
      const read = await next
      next = this.#read(job.id, interest, chunks[index + 1])
      if ('bytes' in read) await this.#send({ type: 'data', request: job.id, chunk, bytes: read.bytes })
      else await this.#reject(job.id, chunk, read.reason)
    }
  }

  #isCancelled(id: number, chunk: number): boolean {
    const chunks = this.#cancelled.get(id)
    return chunks !== undefined && (chunks.has(chunk) || chunks.has(noChunk))
  }

  /** Never rejects: what cannot be read is told to the peer. */
  async #read(id: number, interest: Interest | undefined, chunk: number | undefined): Promise<Read> {
    if (interest === undefined || chunk === undefined) return { reason: 'not-held' }
    if (!this.#isOpen || this.#isCancelled(id, chunk)) return { reason: 'cancelled' }
    try {
      return { bytes: await this.#init.reads.run(() => this.#init.store.readChunk(interest.file, chunk)) }
    } catch (error) {
      const isAbsent = errorCode(error) === 'BLOB_NOT_FOUND'
      if (!isAbsent) this.#init.logger.warn(`a chunk could not be served: ${messageOf(error)}`)
      return { reason: isAbsent ? 'not-held' : 'failed' }
    }
  }

  #scheduleNews(): void {
    if (!this.#isOpen) return
    this.#haveTimer ??= this.#init.environment.clock.setTimer(this.#init.haveDelayMs, () => void this.#sendNews())
  }

  async #sendNews(): Promise<void> {
    try {
      for (const [id, interest] of this.#interests) {
        const ranges = rangesIn(interest.news, noChunk)
        interest.news = []
        for (let at = 0; at < ranges.length; at += exchangeLimits.haveRanges) {
          await this.#send({ type: 'have', interest: id, ranges: ranges.slice(at, at + exchangeLimits.haveRanges) })
        }
      }
    } catch (error) {
      this.#cutOff(error)
    }
    this.#haveTimer = undefined
    if ([...this.#interests.values()].some(({ news }) => news.length > 0)) this.#scheduleNews()
  }

  #reject(id: number, chunk: number, reason: RejectReason): Promise<void> {
    return this.#send({ type: 'reject', id, chunk, reason })
  }

  /** One frame after the other; at most one job and one HAVE wait here. */
  #send(message: AnswererMessage): Promise<void> {
    const { environment, sendTimeoutMs } = this.#init
    const send = (signal: AbortSignal): Promise<void> => this.#channel.send(encodeMessage(message), { signal })
    const sent = this.#sending.then(() =>
      withDeadline(environment.clock, sendTimeoutMs, send, { what: 'Sending to a peer' })
    )
    this.#sending = sent.catch(() => {})
    return sent
  }
}
