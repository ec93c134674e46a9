/**
 * Frames on a byte stream.
 *
 * ```
 * stream = *frame
 * frame  = length payload
 * length = 4 OCTET             ; unsigned, big endian: bytes of the payload, 0 included
 * payload = length * OCTET
 * ```
 *
 * Goals: a receiver never holds more than it was sent (a length alone allocates nothing), never copies a byte more than
 * twice, and hands out a frame that lies inside one chunk as a view of it.
 *
 * Non-goals: integrity and secrecy (the stream below has both), types, compression, frames above 4 GiB.
 */
import { MurmurateError } from '../core/errors.js'

/** Bytes before each payload. */
const frameHeaderBytes = 4

/** The first piece that is made for a frame of several chunks; it doubles as the frame comes in. */
const firstPieceBytes = 64 * 1024
/** Parts below this size are put into one piece: one packet with a copy is cheaper than two packets. */
const smallPartBytes = 4 * 1024

/**
 * Puts the header before a frame's parts, and small parts next to each other into one piece. Large parts are not copied.
 *
 * @throws MurmurateError `FRAME_TOO_LARGE` above `maxFrameBytes`
 */
export function encodeFrame(parts: readonly Uint8Array[], maxFrameBytes: number): Uint8Array[] {
  const length = parts.reduce((sum, part) => sum + part.byteLength, 0)
  assertFrameFits(length, maxFrameBytes)
  const header = Buffer.allocUnsafe(frameHeaderBytes)
  header.writeUInt32BE(length)
  return joinSmall([header, ...parts])
}

/** @throws MurmurateError `FRAME_TOO_LARGE` */
export function assertFrameFits(length: number, maxFrameBytes: number): void {
  if (length <= maxFrameBytes) return
  throw new MurmurateError('FRAME_TOO_LARGE', `A frame of ${length} bytes, the limit is ${maxFrameBytes}`, {
    details: { length, maxFrameBytes }
  })
}

function joinSmall(parts: readonly Uint8Array[]): Uint8Array[] {
  const pieces: Uint8Array[] = []
  let small: Uint8Array[] = []
  const flush = (): void => {
    if (small.length > 0) pieces.push(small.length === 1 && small[0] ? small[0] : Buffer.concat(small))
    small = []
  }
  for (const part of parts) {
    if (part.byteLength >= smallPartBytes) flush()
    if (part.byteLength >= smallPartBytes) pieces.push(part)
    else small.push(part)
  }
  flush()
  return pieces
}

/** Cuts a byte stream into frames, whatever the sizes of the chunks it comes in. */
export class FrameDecoder {
  readonly #maxFrameBytes: number
  readonly #header = Buffer.alloc(frameHeaderBytes)
  #headerFilled = 0
  /** Bytes of the frame that is coming in, or undefined between frames. */
  #length: number | undefined
  #body: Buffer = Buffer.alloc(0)
  #bodyFilled = 0

  /** @param maxFrameBytes - larger announcements are refused before anything is allocated for them */
  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes
  }

  /** Whether the stream may end here: no frame is incomplete. */
  get betweenFrames(): boolean {
    return this.#length === undefined && this.#headerFilled === 0
  }

  /**
   * Takes a chunk and yields the frames that it completes. Consume it to the end before the next chunk.
   *
   * @throws MurmurateError `FRAME_TOO_LARGE`; the decoder is of no use after that
   */
  *push(chunk: Uint8Array): Generator<Uint8Array, void, undefined> {
    let at = 0
    while (at < chunk.byteLength || this.#length === 0) {
      if (this.#length === undefined) at += this.#takeHeader(chunk, at)
      if (this.#length === undefined) return
      const rest = chunk.byteLength - at
      if (this.#bodyFilled === 0 && rest >= this.#length) {
        const frame = chunk.subarray(at, at + this.#length)
        at += this.#length
        this.#reset()
        yield frame
      } else {
        at += this.#takeBody(chunk, at, this.#length)
        if (this.#bodyFilled === this.#length) yield this.#finish()
      }
    }
  }

  #takeHeader(chunk: Uint8Array, at: number): number {
    const taken = Math.min(frameHeaderBytes - this.#headerFilled, chunk.byteLength - at)
    this.#header.set(chunk.subarray(at, at + taken), this.#headerFilled)
    this.#headerFilled += taken
    if (this.#headerFilled < frameHeaderBytes) return taken
    const length = this.#header.readUInt32BE()
    assertFrameFits(length, this.#maxFrameBytes)
    this.#length = length
    return taken
  }

  #takeBody(chunk: Uint8Array, at: number, length: number): number {
    const taken = Math.min(length - this.#bodyFilled, chunk.byteLength - at)
    this.#grow(this.#bodyFilled + taken, length)
    this.#body.set(chunk.subarray(at, at + taken), this.#bodyFilled)
    this.#bodyFilled += taken
    return taken
  }

  /** Doubles, so that a frame of n bytes costs less than 2 n of copying and never holds more than twice what came in. */
  #grow(needed: number, length: number): void {
    if (needed <= this.#body.byteLength) return
    const size = Math.min(length, Math.max(needed, 2 * this.#body.byteLength, firstPieceBytes))
    const grown = Buffer.allocUnsafeSlow(size)
    grown.set(this.#body.subarray(0, this.#bodyFilled))
    this.#body = grown
  }

  #finish(): Uint8Array {
    const frame = this.#body.subarray(0, this.#bodyFilled)
    this.#reset()
    return frame
  }

  #reset(): void {
    this.#headerFilled = 0
    this.#length = undefined
    this.#body = Buffer.alloc(0)
    this.#bodyFilled = 0
  }
}
