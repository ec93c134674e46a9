import { digestBytes } from './cid.js'
import type { Bitfield } from './bitfield.js'

/**
 * The chunks of one file, in order, as two flat arrays: 40 bytes a chunk, where an object each would take 200.
 * (A file of 70 GB in chunks of 256 KiB: 11 MB.)
 */
export class ChunkList {
  /** sha2-256 digests, 32 bytes each, packed. */
  readonly digests: Uint8Array
  /** Where each chunk begins in the file, and at last where the file ends: `count + 1` byte offsets. */
  readonly offsets: Float64Array

  constructor(digests: Uint8Array, offsets: Float64Array) {
    this.digests = digests
    this.offsets = offsets
  }

  /** Number of chunks. */
  get count(): number {
    return this.offsets.length - 1
  }

  /** Bytes of the file. */
  get sizeBytes(): number {
    return this.offset(this.count)
  }

  /** Where the chunk begins in the file, in bytes. */
  offset(chunk: number): number {
    return this.offsets[chunk] ?? 0
  }

  /** Bytes of the chunk; 0 when there is no such chunk. */
  length(chunk: number): number {
    return chunk < 0 || chunk >= this.count ? 0 : this.offset(chunk + 1) - this.offset(chunk)
  }

  /** The chunk's digest; a view, not a copy. */
  digest(chunk: number): Uint8Array {
    return this.digests.subarray(chunk * digestBytes, (chunk + 1) * digestBytes)
  }

  /** Bytes of the chunks whose bit is one. */
  bytesIn(bits: Bitfield): number {
    let bytes = 0
    for (let chunk = 0; chunk < this.count; chunk++) if (bits.has(chunk)) bytes += this.length(chunk)
    return bytes
  }
}

/** Collects chunks one after the other, growing as needed. */
export class ChunkListBuilder {
  #digests = new Uint8Array(64 * digestBytes)
  #offsets = new Float64Array(65)
  #count = 0

  /** How many chunks it has so far. */
  get count(): number {
    return this.#count
  }

  /** Bytes of all chunks so far. */
  get sizeBytes(): number {
    return this.#offsets[this.#count] ?? 0
  }

  /** Adds the next chunk. */
  add(digest: Uint8Array, lengthBytes: number): void {
    if (this.#count + 1 === this.#offsets.length) this.#grow()
    this.#digests.set(digest, this.#count * digestBytes)
    this.#offsets[this.#count + 1] = this.sizeBytes + lengthBytes
    this.#count++
  }

  /** The finished list. */
  build(): ChunkList {
    return new ChunkList(this.#digests.slice(0, this.#count * digestBytes), this.#offsets.slice(0, this.#count + 1))
  }

  #grow(): void {
    const digests = new Uint8Array(this.#digests.length * 2)
    digests.set(this.#digests)
    this.#digests = digests
    const offsets = new Float64Array(this.#count * 2 + 1)
    offsets.set(this.#offsets)
    this.#offsets = offsets
  }
}
