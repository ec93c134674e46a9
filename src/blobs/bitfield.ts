import { MurmurateError } from '../core/errors.js'

/** One bit for each chunk of a file, most significant bit first (as in BitTorrent), spare bits zero. */
export class Bitfield {
  /** The bits, packed; `ceil(length / 8)` bytes. */
  readonly bytes: Uint8Array
  /** Number of bits. */
  readonly length: number
  #ones: number

  private constructor(bytes: Uint8Array, length: number, ones: number) {
    this.bytes = bytes
    this.length = length
    this.#ones = ones
  }

  /** All zero. */
  static empty(length: number): Bitfield {
    return new Bitfield(new Uint8Array(Math.ceil(length / 8)), length, 0)
  }

  /** All one. */
  static full(length: number): Bitfield {
    const bytes = new Uint8Array(Math.ceil(length / 8)).fill(0xff)
    if (length % 8 !== 0) bytes[bytes.length - 1] = spareMask(length)
    return new Bitfield(bytes, length, length)
  }

  /**
   * Bits from a peer or from disk; copied.
   *
   * @throws MurmurateError `MALFORMED` when there are more or fewer bytes than `length` bits need, or spare bits are set
   */
  static from(bytes: Uint8Array, length: number): Bitfield {
    if (bytes.byteLength !== Math.ceil(length / 8)) {
      throw new MurmurateError('MALFORMED', `A bitfield of ${bytes.byteLength} bytes for ${length} chunks`)
    }
    const last = bytes[bytes.byteLength - 1]
    if (last !== undefined && length % 8 !== 0 && (last & ~spareMask(length)) !== 0) {
      throw new MurmurateError('MALFORMED', 'A bitfield has bits beyond its last chunk')
    }
    return new Bitfield(Uint8Array.from(bytes), length, countOnes(bytes))
  }

  /** How many bits are one. */
  get ones(): number {
    return this.#ones
  }

  /** Whether every bit is one. */
  get isFull(): boolean {
    return this.#ones === this.length
  }

  /** Whether the bit is one. */
  has(index: number): boolean {
    return ((this.bytes[index >> 3] ?? 0) & (0x80 >> (index & 7))) !== 0
  }

  /** Makes the bit one; tells whether it was zero. */
  set(index: number): boolean {
    if (index < 0 || index >= this.length || this.has(index)) return false
    this.bytes[index >> 3] = (this.bytes[index >> 3] ?? 0) | (0x80 >> (index & 7))
    this.#ones++
    return true
  }

  /** Makes the bit zero; tells whether it was one. */
  clear(index: number): boolean {
    if (!this.has(index)) return false
    this.bytes[index >> 3] = (this.bytes[index >> 3] ?? 0) & ~(0x80 >> (index & 7))
    this.#ones--
    return true
  }

  /** A copy that changes on its own. */
  clone(): Bitfield {
    return new Bitfield(Uint8Array.from(this.bytes), this.length, this.#ones)
  }

  /** The numbers of the bits that are zero, in order. */
  *zeros(): Generator<number> {
    for (let index = 0; index < this.length; index++) if (!this.has(index)) yield index
  }
}

function spareMask(length: number): number {
  return (0xff << (8 - (length % 8))) & 0xff
}

function countOnes(bytes: Uint8Array): number {
  let ones = 0
  for (let byte of bytes) for (; byte !== 0; byte &= byte - 1) ones++
  return ones
}
