import { MurmurateError } from '../core/errors.js'
import type { Cid } from '../core/ids.js'
import { matches } from './cid.js'

/** A block that a peer was asked for, put together from its pieces. */
export class BlockWant {
  /** The verified block; undefined when it does not come. */
  readonly block: Promise<Uint8Array | undefined>
  readonly #cid: Cid
  readonly #maxBytes: number
  readonly #settle: (block: Uint8Array | undefined) => void
  #buffer = new Uint8Array(0)
  #doneBytes = 0
  #totalBytes: number | undefined

  constructor(cid: Cid, maxBytes: number) {
    this.#cid = cid
    this.#maxBytes = maxBytes
    const { promise, resolve } = Promise.withResolvers<Uint8Array | undefined>()
    this.block = promise
    this.#settle = resolve
  }

  /** It will not come, or not soon. */
  giveUp(): void {
    this.#settle(undefined)
  }

  /**
   * Takes the next piece; tells whether it was the last. Memory is used as pieces come, not as they are announced.
   *
   * @throws MurmurateError `MALFORMED` when the piece does not follow the one before or the block is not what was asked for
   */
  take(totalBytes: number, offset: number, bytes: Uint8Array): boolean {
    this.#totalBytes ??= totalBytes
    const fits = totalBytes === this.#totalBytes && totalBytes <= this.#maxBytes && offset === this.#doneBytes
    if (!fits) throw this.#broken(`sent a wrong piece of block ${this.#cid}`)
    this.#append(bytes, totalBytes)
    if (this.#doneBytes < totalBytes) return false
    const block = this.#buffer.subarray(0, totalBytes)
    if (!matches(this.#cid, block)) throw this.#broken(`sent wrong bytes for block ${this.#cid}`)
    this.#settle(block)
    return true
  }

  /** Copies, so that many small pieces cost no more than their bytes; doubles, so that copying stays linear. */
  #append(bytes: Uint8Array, totalBytes: number): void {
    const needed = this.#doneBytes + bytes.byteLength
    if (needed > this.#buffer.byteLength) {
      const grown = new Uint8Array(Math.min(totalBytes, Math.max(needed, 2 * this.#buffer.byteLength)))
      grown.set(this.#buffer)
      this.#buffer = grown
    }
    this.#buffer.set(bytes, this.#doneBytes)
    this.#doneBytes = needed
  }

  #broken(how: string): MurmurateError {
    this.giveUp()
    return new MurmurateError('MALFORMED', `The peer ${how}`)
  }
}
