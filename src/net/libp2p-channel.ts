import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { raceSignal, throwIfAborted, withDeadline, type AbortOptions } from '../core/abort.js'
import type { Clock } from '../core/environment.js'
import { MurmurateError, messageOf } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import { FrameQueue } from './frame-queue.js'
import { encodeFrame, FrameDecoder } from './framing.js'
import type { Libp2pKnobs } from './libp2p-defaults.js'
import type { Channel } from './network.js'

/** What a channel is made of. */
export interface Libp2pChannelInit {
  readonly stream: Stream
  readonly peer: NodeId
  readonly maxFrameBytes: number
  readonly clock: Clock
  readonly knobs: Libp2pKnobs
}

/**
 * Frames over a libp2p stream, with the back-pressure that libp2p leaves out: its `onDrain()` resolves at once after the
 * first drain, and its iterator takes everything that comes. So we count `writeBufferLength` on the way out and
 * pause the stream on the way in, which stops its window updates.
 */
export class Libp2pChannel implements Channel {
  readonly peer: NodeId
  /** Resolves when nothing more can be sent or received, for whatever reason. */
  readonly closed: Promise<void>
  readonly #init: Libp2pChannelInit
  readonly #stream: Stream
  readonly #decoder: FrameDecoder
  readonly #queue: FrameQueue
  #waiting: (() => void)[] = []
  #finReceived: boolean
  #abortedWith: Error | undefined

  constructor(init: Libp2pChannelInit) {
    this.#init = init
    this.peer = init.peer
    this.#stream = init.stream
    this.#decoder = new FrameDecoder(init.maxFrameBytes)
    this.#queue = new FrameQueue({ highWaterBytes: init.knobs.channelHighWaterBytes, onRoom: () => this.#resume() })
    this.#finReceived = this.#stream.remoteWriteStatus === 'closed' && this.#stream.status === 'open'
    this.closed = new Promise((resolve) => {
      this.#listen(resolve)
      if (this.#stream.status !== 'open') {
        this.#onClose()
        resolve()
      }
    })
  }

  /** Rejects with `FRAME_TOO_LARGE` above the limit of the protocol. The parts must not change until it resolves. */
  async send(parts: readonly Uint8Array[], options: AbortOptions = {}): Promise<void> {
    const pieces = encodeFrame(parts, this.#init.maxFrameBytes)
    throwIfAborted(options.signal)
    this.#assertWritable()
    try {
      for (const piece of pieces) this.#stream.send(piece)
    } catch (cause) {
      throw this.#brokenError(cause)
    }
    while (this.#stream.writeBufferLength > this.#init.knobs.channelHighWaterBytes) {
      await raceSignal(this.#room(), options.signal)
      this.#assertWritable()
    }
  }

  frames(): AsyncIterable<Uint8Array> {
    return this.#queue.frames()
  }

  async close(): Promise<void> {
    if (this.#stream.writeStatus !== 'writable') return
    const { clock, knobs } = this.#init
    try {
      await withDeadline(clock, knobs.channelCloseTimeoutMs, (signal) => this.#stream.close({ signal }), {
        what: 'Closing'
      })
    } catch (cause) {
      if (this.#stream.status === 'open') this.abort(this.#brokenError(cause))
    }
  }

  /** Ends a channel whose handler is done: what was sent still gets out, what comes in is dropped, then it is freed. */
  async release(): Promise<void> {
    const { clock, knobs } = this.#init
    this.#queue.discard(new MurmurateError('NETWORK_ERROR', 'The handler of this channel has ended'))
    try {
      await this.#stream.closeRead()
      await this.close()
      await withDeadline(clock, knobs.channelCloseTimeoutMs, () => this.closed, {
        what: 'Waiting for the peer to close'
      })
    } catch (cause) {
      this.abort(this.#brokenError(cause))
    }
  }

  abort(reason: Error): void {
    this.#abortedWith ??= reason
    this.#stream.abort(reason)
    this.#queue.discard(this.#brokenError(reason))
  }

  #listen(resolve: () => void): void {
    const stream = this.#stream
    // libp2p continues to send in a microtask that it queues at the drain event; ours comes after it.
    const onRoom = (): void => queueMicrotask(() => this.#wake())
    stream.addEventListener('message', (event: StreamMessageEvent) => this.#onMessage(event))
    stream.addEventListener('drain', onRoom)
    stream.addEventListener('idle', onRoom)
    stream.addEventListener('remoteCloseWrite', () => {
      this.#finReceived = true
      this.#endIfRead()
    })
    stream.addEventListener('close', (event: StreamCloseEvent) => {
      this.#onClose(event.error)
      resolve()
    })
  }

  #onMessage(event: StreamMessageEvent): void {
    const chunks = event.data instanceof Uint8Array ? [event.data] : event.data
    try {
      for (const chunk of chunks) {
        for (const frame of this.#decoder.push(chunk)) this.#queue.push(frame)
      }
    } catch (error) {
      this.abort(error instanceof Error ? error : new Error(messageOf(error)))
      return
    }
    if (this.#queue.full && this.#stream.readStatus === 'readable') this.#stream.pause()
    this.#endIfRead()
  }

  /** The peer has closed; what libp2p still holds comes first. A frame cut in two is no end but a broken link. */
  #endIfRead(): void {
    if (!this.#finReceived || this.#stream.readBufferLength > 0) return
    if (this.#decoder.betweenFrames) this.#queue.end()
    else this.#queue.fail(this.#brokenError())
  }

  #onClose(cause?: Error): void {
    // What libp2p held back while we paused, one window at most, was sent before the end and belongs to the reader.
    if (this.#abortedWith === undefined) this.#resume()
    this.#endIfRead()
    this.#queue.fail(this.#brokenError(cause))
    this.#wake()
  }

  #resume(): void {
    if (this.#stream.readStatus !== 'paused') return
    try {
      this.#stream.resume()
    } catch {
      // It also tells the peer to go on, which a stream that has closed meanwhile cannot.
    }
  }

  #room(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }

  #assertWritable(): void {
    if (this.#stream.status !== 'open' || this.#stream.writeStatus === 'closed') throw this.#brokenError()
  }

  #brokenError(cause?: unknown): MurmurateError {
    const reason = this.#abortedWith ?? cause
    if (reason instanceof MurmurateError) return reason
    return new MurmurateError('NETWORK_ERROR', `The channel to ${this.peer} is closed`, {
      cause: reason,
      details: { peer: this.peer }
    })
  }
}
