/** Numbers and byte strings one after the other, as Yjs' update encoding version 1 writes them. */
import { MurmurateError } from '../core/errors.js'

/** Reads within bounds; every overrun is `MALFORMED`. */
export class ByteReader {
  readonly #bytes: Uint8Array
  readonly #what: string
  #at = 0

  /** @param what - it is that is read, for the message of the error */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes
    this.#what = what
  }

  /** The error for what is not as it should be. */
  malformed(why: string): MurmurateError {
    return new MurmurateError('MALFORMED', `${this.#what} contains ${why}`)
  }

  /** One byte. */
  byte(): number {
    const byte = this.#bytes[this.#at]
    if (byte === undefined) throw this.malformed('less than it announces')
    this.#at += 1
    return byte
  }

  /** An unsigned integer below 2^53, 7 bits a byte, lowest first. */
  varuint(): number {
    let value = 0
    for (let factor = 1; factor <= 2 ** 49; factor *= 128) {
      const byte = this.byte()
      value += (byte & 0x7f) * factor
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) break
        return value
      }
    }
    throw this.malformed('a number above 2^53')
  }

  /** A number of things of at least `smallest` bytes each, so never more than the remaining bytes can hold. */
  count(smallest: number): number {
    const count = this.varuint()
    if (count * smallest > this.#bytes.byteLength - this.#at) throw this.malformed('a count above its size')
    return count
  }

  /** Bytes behind their number. A view. */
  bytes(): Uint8Array {
    return this.take(this.count(1))
  }

  /** So many bytes. A view. */
  take(length: number): Uint8Array {
    if (length > this.#bytes.byteLength - this.#at) throw this.malformed('less than it announces')
    const view = this.#bytes.subarray(this.#at, this.#at + length)
    this.#at += length
    return view
  }

  /** Text behind the number of its bytes. */
  string(maxBytes: number): string {
    const bytes = this.bytes()
    if (bytes.byteLength > maxBytes) throw this.malformed('a name that is too long')
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
  }

  /** All that is left. A view. */
  rest(): Uint8Array {
    return this.take(this.#bytes.byteLength - this.#at)
  }

  /** Nothing may be left. */
  end(): void {
    if (this.#at !== this.#bytes.byteLength) throw this.malformed('trailing bytes')
  }
}

/** Writes what `ByteReader` reads. */
export class ByteWriter {
  readonly #buffer: Buffer
  #at = 0

  /** @param capacity - an upper bound of what will be written */
  constructor(capacity: number) {
    this.#buffer = Buffer.allocUnsafe(capacity)
  }

  /** One byte. */
  byte(value: number): void {
    this.#buffer[this.#at++] = value
  }

  /** An unsigned integer below 2^53, 7 bits a byte, lowest first. */
  varuint(value: number): void {
    let rest = value
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.byte((rest % 128) | 0x80)
    this.byte(rest)
  }

  /** Bytes behind their number. */
  bytes(value: Uint8Array): void {
    this.varuint(value.byteLength)
    this.raw(value)
  }

  /** Bytes, without their number. */
  raw(value: Uint8Array): void {
    this.#buffer.set(value, this.#at)
    this.#at += value.byteLength
  }

  /** Text of ASCII characters, without their number. */
  ascii(text: string): void {
    this.#at += this.#buffer.write(text, this.#at, 'latin1')
  }

  /** What was written. A view. */
  done(): Uint8Array {
    return new Uint8Array(this.#buffer.buffer, this.#buffer.byteOffset, this.#at)
  }
}
