import { raceSignal, throwIfAborted, type AbortOptions } from '../core/abort.js'
import type { Clock, Timer } from '../core/environment.js'
import { MurmurateError, messageOf } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import { FrameQueue } from './frame-queue.js'
import { assertFrameFits } from './framing.js'
import type { Channel } from './network.js'

/** Bytes under way or unread above which a sender waits, as with libp2p. */
const windowBytes = 256 * 1024
/** How long a channel whose handler is done waits for the other end to close too, as with libp2p. */
const lingerMs = 30_000

/** What one node brings to its end of a channel. */
export interface MemoryChannelEnd {
  readonly clock: Clock
  /** Draws how long the next frame takes, in ms. */
  readonly latencyMs: () => number
  /** The node at the other end. */
  readonly peer: NodeId
  readonly maxFrameBytes: number
  /** Bytes that leave this end. */
  readonly onSent: (bytes: number) => void
  /** Bytes that arrive at this end. */
  readonly onReceived: (bytes: number) => void
}

/** What an end of a channel is made of. */
export interface MemoryChannelInit extends MemoryChannelEnd {
  /** Whether what arrives now gets through: not once the link is broken. */
  readonly passes: () => boolean
  /** Lets something get to the other end, now or when it can. */
  readonly deliver: (arrive: () => void) => void
  /** Both ends have closed, or the channel broke. */
  readonly onFreed: () => void
}

/** Frames between two nodes of one process: in order, after a while, held back while the reader does not pull. */
export class MemoryChannel implements Channel {
  readonly peer: NodeId
  readonly #init: MemoryChannelInit
  readonly #queue: FrameQueue
  /** When the last frame arrives: one with a short way does not overtake one with a long way. */
  #arrivesAtMs = 0
  #underWayBytes = 0
  #other: MemoryChannel | undefined
  #waiting: (() => void)[] = []
  #closedByUs = false
  #closedByPeer = false
  #broken: MurmurateError | undefined
  #linger: Timer | undefined

  constructor(init: MemoryChannelInit) {
    this.#init = init
    this.peer = init.peer
    this.#queue = new FrameQueue({ highWaterBytes: windowBytes, onRoom: () => this.#other?.wake() })
  }

  /** Ties the two ends of a channel together, before either is used. */
  join(other: MemoryChannel): void {
    this.#other = other
    other.#other = this
  }

  /** Whether the reader of this end is behind. */
  get full(): boolean {
    return this.#queue.full
  }

  async send(parts: readonly Uint8Array[], options: AbortOptions = {}): Promise<void> {
    const frame = new Uint8Array(Buffer.concat(parts))
    assertFrameFits(frame.byteLength, this.#init.maxFrameBytes)
    throwIfAborted(options.signal)
    this.#assertWritable()
    this.#underWayBytes += frame.byteLength
    this.#init.onSent(frame.byteLength)
    this.#deliver(() => {
      this.#underWayBytes -= frame.byteLength
      this.#other?.receive(frame)
      this.wake()
    })
    while (this.#underWayBytes > windowBytes || this.#other?.full === true) {
      await raceSignal(this.#room(), options.signal)
      if (this.#broken !== undefined) throw this.#broken
    }
  }

  frames(): AsyncIterable<Uint8Array> {
    return this.#queue.frames()
  }

  close(): Promise<void> {
    if (this.#closedByUs || this.#broken !== undefined) return Promise.resolve()
    this.#closedByUs = true
    this.#deliver(() => this.#other?.peerClosed())
    this.#freeIfClosed()
    return Promise.resolve()
  }

  abort(reason: Error): void {
    if (this.#broken !== undefined) return
    this.#deliver(() => this.#other?.breakWith('The peer aborted the channel'))
    const error = reason instanceof MurmurateError ? reason : this.#networkError(messageOf(reason), reason)
    this.#break(error)
    this.#queue.discard(error)
  }

  /** The link broke. */
  breakWith(message: string): void {
    if (this.#broken === undefined) this.#break(this.#networkError(message))
  }

  /** Ends a channel whose handler is done: what was sent still arrives, what comes in is dropped, then it is freed. */
  async release(): Promise<void> {
    await this.close()
    if (this.#broken !== undefined || this.#closedByPeer) return
    this.#queue.discard(this.#networkError('The handler of this channel has ended'))
    this.#linger = this.#init.clock.setTimer(lingerMs, () => this.abort(this.#networkError('The peer did not close')))
  }

  #deliver(action: () => void): void {
    const now = this.#init.clock.monotonic()
    this.#arrivesAtMs = Math.max(this.#arrivesAtMs, now + this.#init.latencyMs())
    const arrive = (): void => {
      if (this.#init.passes()) action()
    }
    this.#init.clock.setTimer(this.#arrivesAtMs - now, () => this.#init.deliver(arrive))
  }

  /** A frame arrives. */
  receive(frame: Uint8Array): void {
    if (this.#broken !== undefined) return
    this.#init.onReceived(frame.byteLength)
    try {
      assertFrameFits(frame.byteLength, this.#init.maxFrameBytes)
    } catch (error) {
      return this.abort(error instanceof Error ? error : new Error(messageOf(error)))
    }
    if (this.#linger === undefined) this.#queue.push(frame)
  }

  /** The other end will send nothing more. */
  peerClosed(): void {
    this.#closedByPeer = true
    this.#queue.end()
    this.#freeIfClosed()
  }

  #freeIfClosed(): void {
    if (!this.#closedByUs || !this.#closedByPeer) return
    this.#linger?.cancel()
    this.#init.onFreed()
  }

  #break(error: MurmurateError): void {
    this.#broken = error
    this.#linger?.cancel()
    this.#queue.fail(error)
    this.wake()
    this.#init.onFreed()
  }

  #assertWritable(): void {
    if (this.#broken !== undefined) throw this.#broken
    if (this.#closedByUs) throw this.#networkError('It was closed')
  }

  #room(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Whoever waits to send looks again. */
  wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }

  #networkError(message: string, cause?: unknown): MurmurateError {
    return new MurmurateError('NETWORK_ERROR', `The channel to ${this.peer} is closed: ${message}`, {
      cause,
      details: { peer: this.peer }
    })
  }
}
