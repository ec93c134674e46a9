import type { Cid } from '../core/ids.js'
import type { ChunkPlace } from './blob-store.js'
import type { ChunkList } from './chunk-list.js'
import { digestBytes } from './cid.js'

/** Most chunks that are indexed; at 12 bytes a slot and a table at most 2/3 full, 18 to 36 MB. 256 GB at 256 KiB a chunk. */
const defaultIndexedChunks = 1_000_000

/** Places remembered for one digest. More versions of a file that share a chunk need no more. */
const placesPerDigest = 4

const wordsPerSlot = 3
const smallestTable = 1024

/**
 * Tells in which local file a chunk may lie. A hash table in one typed array: for each slot the first four bytes of the
 * digest, the number of the file (from 1), and the number of the chunk. Four bytes can be wrong, so whoever asks compares the
 * whole digest.
 */
export class ChunkIndex {
  readonly #maxChunks: number
  #slots = new Uint32Array(smallestTable * wordsPerSlot)
  #used = 0
  readonly #fileNumbers = new Map<Cid, number>()
  #filesByNumber = new Map<number, Cid>()
  #nextNumber = 1

  constructor(maxChunks: number = defaultIndexedChunks) {
    this.#maxChunks = maxChunks
  }

  /** Bytes of the table. */
  get tableBytes(): number {
    return this.#slots.byteLength
  }

  /** Adds the chunks of a file, as far as there is room. */
  add(file: Cid, chunks: ChunkList): void {
    if (this.#fileNumbers.has(file)) return
    const number = this.#nextNumber++
    this.#fileNumbers.set(file, number)
    this.#filesByNumber.set(number, file)
    const room = Math.min(chunks.count, this.#maxChunks - this.#used)
    for (let chunk = 0; chunk < room; chunk++) this.#insert(fingerprint(chunks.digests, chunk), number, chunk)
  }

  /** Forgets a file; its slots are freed at once. */
  remove(file: Cid): void {
    const number = this.#fileNumbers.get(file)
    if (number === undefined) return
    this.#fileNumbers.delete(file)
    this.#filesByNumber.delete(number)
    this.#rebuild(this.#slots.length / wordsPerSlot)
  }

  /** The places that may hold the digest at this position of a packed array. */
  candidates(digests: Uint8Array, index: number): readonly ChunkPlace[] {
    const print = fingerprint(digests, index)
    const places: ChunkPlace[] = []
    for (let slot = this.#first(print); this.#number(slot) !== 0; slot = this.#following(slot)) {
      const file = this.#slots[slot] === print ? this.#filesByNumber.get(this.#number(slot)) : undefined
      if (file !== undefined) places.push({ file, chunk: this.#slots[slot + 2] ?? 0 })
    }
    return places
  }

  #insert(print: number, number: number, chunk: number): void {
    let same = 0
    let slot = this.#first(print)
    for (; this.#number(slot) !== 0; slot = this.#following(slot)) {
      if (this.#slots[slot] !== print) continue
      // The same chunk many times in a file (zeros) would make a chain as long as the file.
      if (this.#number(slot) === number || ++same === placesPerDigest) return
    }
    this.#slots.set([print, number, chunk], slot)
    this.#used++
    const capacity = this.#slots.length / wordsPerSlot
    if (this.#used * 3 > capacity * 2) this.#rebuild(capacity * 2)
  }

  #rebuild(capacity: number): void {
    const old = this.#slots
    this.#slots = new Uint32Array(capacity * wordsPerSlot)
    this.#used = 0
    for (let slot = 0; slot < old.length; slot += wordsPerSlot) {
      const number = old[slot + 1] ?? 0
      if (this.#filesByNumber.has(number)) this.#insert(old[slot] ?? 0, number, old[slot + 2] ?? 0)
    }
  }

  #first(print: number): number {
    return (print % (this.#slots.length / wordsPerSlot)) * wordsPerSlot
  }

  #following(slot: number): number {
    const next = slot + wordsPerSlot
    return next === this.#slots.length ? 0 : next
  }

  #number(slot: number): number {
    return this.#slots[slot + 1] ?? 0
  }
}

function fingerprint(digests: Uint8Array, index: number): number {
  const at = index * digestBytes
  const [a = 0, b = 0, c = 0, d = 0] = [digests[at], digests[at + 1], digests[at + 2], digests[at + 3]]
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0
}
