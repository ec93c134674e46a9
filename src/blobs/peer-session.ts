import type { Clock } from '../core/environment.js'
import { MurmurateError, errorCode, messageOf } from '../core/errors.js'
import type { Cid, NodeId } from '../core/ids.js'
import type { Channel } from '../net/network.js'
import { Bitfield } from './bitfield.js'
import { BlockWant } from './block-want.js'
import type { ChunkList } from './chunk-list.js'
import {
  decodeAnswererMessage,
  encodeMessage,
  exchangeLimits,
  noChunk,
  rangesIn,
  type AnswererMessage,
  type AskerMessage,
  type ChunkRange,
  type RejectReason
} from './exchange.js'
import { OwedChunks, type OwedRequest } from './owed-chunks.js'
import { TransferMeter, type TransferListener } from './transfer-meter.js'

/** Hears what a peer says about one file. */
export interface InterestListener {
  /** What it has; once, and first. */
  onBitfield(session: PeerSession, held: Bitfield): void
  /** What has come in since. */
  onHave(session: PeerSession, ranges: readonly ChunkRange[]): void
  /** It has nothing of the file. */
  onRefused(session: PeerSession): void
  /** A chunk that was asked for, not verified. */
  onChunk(session: PeerSession, chunk: number, bytes: Uint8Array): void
  /** A chunk that was asked for will not come. */
  onNoChunk(session: PeerSession, chunk: number, reason: RejectReason): void
  /** A chunk that was asked for is late: somebody else may be asked. It may still come. */
  onLate(session: PeerSession, chunk: number): void
  /** The channel is gone. */
  onClosed(session: PeerSession): void
}

/** What asking one peer needs. */
export interface PeerSessionInit {
  readonly channel: Channel
  readonly clock: Clock
  /** Nothing came for this long although something was asked: the peer is late. */
  readonly requestTimeoutMs: number
  readonly onTransfer?: TransferListener | undefined
  /** The channel is gone; `isViolation` when the peer broke the protocol or sent a wrong block. */
  readonly onClosed: (session: PeerSession, reason: unknown, isViolation: boolean) => void
}

interface Interest {
  readonly file: Cid
  readonly chunks: ChunkList
  readonly listener: InterestListener
  isAnswered: boolean
  toldChunks: number
}

/** How often a peer may tell of each chunk: it can lose one and get it again, but reading its news must have an end. */
const newsPerChunk = 4

/** Bytes asked for before a peer has shown that it answers; grows by each request answered, up to the full credit. */
const firstWindowBytes = exchangeLimits.requestBytes

/** Asks one peer on one channel: interests, requests and wants, and what is owed for them. */
export class PeerSession {
  readonly peer: NodeId
  /** Resolves when nothing of the session runs any more. */
  readonly ended: Promise<void>
  readonly #init: PeerSessionInit
  readonly #interests = new Map<number, Interest>()
  readonly #owed = new OwedChunks<Interest>()
  readonly #wants = new Map<number, BlockWant>()
  readonly #meter = new TransferMeter((bytes, ms) => this.#init.onTransfer?.(this.peer, bytes, ms))
  #nextId = 1
  #windowBytes = firstWindowBytes
  #lastAnswerAt = 0
  #isLate = false
  #isOpen = true

  constructor(init: PeerSessionInit) {
    this.#init = init
    this.peer = init.channel.peer
    this.ended = this.#run()
  }

  /** Bytes that may be asked of it now. A peer that is late gets nothing more until it has answered everything. */
  get freeBytes(): number {
    const isBusy = this.#isLate || !this.#isOpen || this.#owed.requests >= exchangeLimits.openRequests
    return isBusy ? 0 : Math.max(0, this.#windowBytes - this.#owed.bytes)
  }

  /** Chunk bytes asked for and not answered. */
  get owedBytes(): number {
    return this.#owed.bytes
  }

  /** Whether there is room for one more interest. */
  get hasInterestLeft(): boolean {
    return this.#isOpen && this.#interests.size < exchangeLimits.interests
  }

  /** Declares interest in a file; returns its number for `request` and `leave`. */
  join(file: Cid, chunks: ChunkList, listener: InterestListener): number {
    const id = this.#nextId++
    this.#interests.set(id, { file, chunks, listener, isAnswered: false, toldChunks: 0 })
    this.#send({ type: 'interest', id, file })
    return id
  }

  /** Ends an interest; what was asked for it is cancelled. */
  leave(interest: number): void {
    const left = this.#interests.get(interest)
    if (left === undefined) return
    this.#interests.delete(interest)
    for (const request of this.#owed.of(left)) this.#cancel(request, noChunk)
    this.#send({ type: 'leave', id: interest })
  }

  /** Asks for chunks of a file; within `freeBytes` and the limits of one request. */
  request(interestId: number, chunks: readonly number[]): void {
    const interest = this.#interests.get(interestId)
    if (interest === undefined || chunks.length === 0) return
    if (!this.#isOwed) this.#lastAnswerAt = this.#init.clock.monotonic()
    if (this.#owed.requests === 0) this.#meter.begin(this.#init.clock.monotonic())
    const id = this.#nextId++
    this.#owed.add(id, interest, chunks)
    this.#send({ type: 'request', id, interest: interestId, ranges: rangesIn(chunks) })
  }

  /** Says that a chunk is not needed any more. */
  cancel(interestId: number, chunk: number): void {
    const interest = this.#interests.get(interestId)
    for (const request of interest === undefined ? [] : this.#owed.of(interest))
      if (request.chunks.has(chunk)) this.#cancel(request, chunk)
  }

  /** Asks for a block; undefined when the peer does not have it or hangs up. Verified. */
  want(cid: Cid, maxBytes: number): Promise<Uint8Array | undefined> {
    if (!this.#isOpen || this.#wants.size >= exchangeLimits.openRequests) return Promise.resolve(undefined)
    if (!this.#isOwed) this.#lastAnswerAt = this.#init.clock.monotonic()
    const id = this.#nextId++
    const want = new BlockWant(cid, maxBytes)
    this.#wants.set(id, want)
    this.#send({ type: 'want', id, cid })
    return want.block
  }

  /** Looks whether the peer is late. Hangs up on one that has been for three times the limit. */
  check(now: number): void {
    if (!this.#isOwed) return
    const silentMs = now - this.#lastAnswerAt
    const { requestTimeoutMs } = this.#init
    if (silentMs > 3 * requestTimeoutMs) this.close(new MurmurateError('TIMEOUT', 'The peer does not answer'))
    else if (silentMs > requestTimeoutMs && !this.#isLate) this.#declareLate()
  }

  /** Hangs up. */
  close(reason: Error): void {
    this.#end(reason, false)
  }

  /** Hangs up on a peer that broke the rules. */
  refuse(reason: Error): void {
    this.#end(reason, true)
  }

  /** Whether it has to answer anything. */
  get #isOwed(): boolean {
    return this.#owed.requests > 0 || this.#wants.size > 0
  }

  async #run(): Promise<void> {
    try {
      for await (const frame of this.#init.channel.frames()) {
        if (!this.#isOpen) return
        this.#take(decodeAnswererMessage(frame))
      }
      this.#end(new MurmurateError('NETWORK_ERROR', 'The peer closed the channel'), false)
    } catch (error) {
      const code = errorCode(error)
      this.#end(error, code === 'MALFORMED' || code === 'FRAME_TOO_LARGE')
    }
  }

  #end(reason: unknown, isViolation: boolean): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#init.channel.abort(reason instanceof Error ? reason : new MurmurateError('INTERNAL', messageOf(reason)))
    for (const want of this.#wants.values()) want.giveUp()
    this.#init.onClosed(this, reason, isViolation)
    for (const { listener } of this.#interests.values()) listener.onClosed(this)
    this.#interests.clear()
    this.#owed.clear()
    this.#wants.clear()
  }

  #declareLate(): void {
    this.#isLate = true
    this.#windowBytes = firstWindowBytes
    for (const want of this.#wants.values()) want.giveUp()
    for (const request of this.#owed.of()) {
      this.#cancel(request, noChunk)
      for (const chunk of request.chunks) request.owner.listener.onLate(this, chunk)
    }
  }

  #cancel({ id, cancelled }: OwedRequest<Interest>, chunk: number): void {
    cancelled.add(chunk)
    this.#send({ type: 'cancel', id, chunk })
  }

  #take(message: AnswererMessage): void {
    switch (message.type) {
      case 'bitfield':
        return this.#takeBitfield(message.interest, message.count, message.bits)
      case 'have':
        return this.#takeHave(message.interest, message.ranges)
      case 'data':
        return this.#takeData(message.request, message.chunk, message.bytes)
      case 'block':
        return this.#takeBlock(message.want, message.total, message.offset, message.bytes)
      case 'reject':
        return this.#takeReject(message.id, message.chunk, message.reason)
    }
  }

  #takeBitfield(id: number, count: number, bits: Uint8Array): void {
    const interest = this.#interests.get(id)
    if (interest === undefined) return
    if (interest.isAnswered || count !== interest.chunks.count) throw broken('sent a bitfield that does not fit')
    interest.isAnswered = true
    interest.listener.onBitfield(this, Bitfield.from(bits, count))
  }

  #takeHave(id: number, ranges: readonly ChunkRange[]): void {
    const interest = this.#interests.get(id)
    if (interest === undefined) return
    if (ranges.some(({ first, count }) => first + count > interest.chunks.count))
      throw broken('has chunks that do not exist')
    interest.toldChunks += ranges.reduce((total, { count }) => total + count, 0)
    if (interest.toldChunks > newsPerChunk * interest.chunks.count) throw broken('tells the same again and again')
    interest.listener.onHave(this, ranges)
  }

  #takeData(id: number, chunk: number, bytes: Uint8Array): void {
    this.#meter.took(bytes.byteLength)
    this.#answered(id, chunk).listener.onChunk(this, chunk, bytes)
  }

  #takeReject(id: number, chunk: number, reason: RejectReason): void {
    const [interest, want] = [this.#interests.get(id), this.#wants.get(id)]
    if (want !== undefined) {
      this.#wants.delete(id)
      want.giveUp()
      this.#noteAnswer()
    } else if (interest !== undefined) {
      this.#interests.delete(id)
      interest.listener.onRefused(this)
    } else if (chunk !== noChunk) {
      // About the whole of nothing that we know: an interest that we left before it was answered.
      // Otherwise we would ask for it again at once, and again.
      if (reason === 'cancelled' && !this.#owed.isCancelled(id, chunk)) throw broken('cancelled what we had asked for')
      this.#answered(id, chunk).listener.onNoChunk(this, chunk, reason)
    }
  }

  /** Books the one answer to a chunk; the owed bytes are free again. */
  #answered(id: number, chunk: number): Interest {
    const interest = this.#owed.answered(id, chunk)
    if (interest === undefined) throw broken('sent what nobody asked for')
    this.#noteAnswer()
    if (this.#owed.has(id)) return interest
    this.#meter.answered(this.#lastAnswerAt, this.#owed.requests === 0)
    this.#windowBytes = Math.min(this.#windowBytes + firstWindowBytes, exchangeLimits.creditBytes)
    return interest
  }

  #takeBlock(id: number, total: number, offset: number, bytes: Uint8Array): void {
    const want = this.#wants.get(id)
    if (want === undefined) throw broken('sent a block that nobody wants')
    if (want.take(total, offset, bytes)) this.#wants.delete(id)
    this.#noteAnswer()
  }

  #noteAnswer(): void {
    this.#lastAnswerAt = this.#init.clock.monotonic()
    if (this.#owed.requests === 0) this.#isLate = false
  }

  /** What an asker sends is small and bounded by what is owed to it; an error ends the session. */
  #send(message: AskerMessage): void {
    if (!this.#isOpen) return
    this.#init.channel.send(encodeMessage(message)).catch((error: unknown) => this.#end(error, false))
  }
}

function broken(how: string): MurmurateError {
  return new MurmurateError('MALFORMED', `The peer ${how}`)
}
