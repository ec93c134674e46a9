import { MurmurateError } from '../core/errors.js'

/** What a waiting frame costs beside its bytes, so that empty frames cannot pile up without limit. */
const frameOverheadBytes = 64

/** Options of a frame queue. */
export interface FrameQueueInit {
  /** Above this the queue is full; it takes more all the same: whoever fills it is to stop. */
  readonly highWaterBytes: number
  /** Called when a full queue has become half empty. */
  readonly onRoom: () => void
}

/** Frames between a stream that brings them and the one reader that pulls them. */
export class FrameQueue {
  readonly #init: FrameQueueInit
  #frames: Uint8Array[] = []
  #bytes = 0
  #full = false
  #ended = false
  #failure: Error | undefined
  #wakeReader: (() => void) | undefined
  #reading = false

  constructor(init: FrameQueueInit) {
    this.#init = init
  }

  /** Whether whoever fills it should stop. */
  get full(): boolean {
    return this.#full
  }

  /** Adds a frame; after the end it is dropped. */
  push(frame: Uint8Array): void {
    if (this.#ended || this.#failure !== undefined) return
    this.#frames.push(frame)
    this.#bytes += frame.byteLength + frameOverheadBytes
    if (this.#bytes >= this.#init.highWaterBytes) this.#full = true
    this.#wake()
  }

  /** No more frames will come; those that wait can still be read. */
  end(): void {
    this.#ended = true
    this.#wake()
  }

  /** The source broke: the reader gets what waits, then the error. */
  fail(error: Error): void {
    if (!this.#ended) this.#failure ??= error
    this.#wake()
  }

  /** Forgets what waits; the reader gets the error next. */
  discard(error: Error): void {
    this.#frames = []
    this.#bytes = 0
    this.#ended = false
    this.#failure = error
    this.#wake()
  }

  /** Pulls the frames. Leaving the loop keeps the rest for the next one. */
  async *frames(): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#reading) throw new MurmurateError('INVALID_REQUEST', 'This channel is being read already')
    this.#reading = true
    try {
      for (;;) {
        const frame = this.#shift()
        if (frame !== undefined) yield frame
        else if (this.#failure !== undefined) throw this.#failure
        else if (this.#ended) return
        else await this.#arrival()
      }
    } finally {
      this.#reading = false
    }
  }

  #shift(): Uint8Array | undefined {
    const frame = this.#frames.shift()
    if (frame === undefined) return undefined
    this.#bytes -= frame.byteLength + frameOverheadBytes
    if (this.#full && this.#bytes <= this.#init.highWaterBytes / 2) {
      this.#full = false
      this.#init.onRoom()
    }
    return frame
  }

  #arrival(): Promise<void> {
    return new Promise((resolve) => {
      this.#wakeReader = resolve
    })
  }

  #wake(): void {
    this.#wakeReader?.()
    this.#wakeReader = undefined
  }
}
