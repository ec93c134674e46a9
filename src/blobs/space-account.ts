import { insufficientStorage } from '../core/durable.js'

/** Counts what a store holds against its declared capacity. */
export class SpaceAccount {
  readonly #capacityBytes: number
  #usedBytes = 0

  /** @param capacityBytes - the declared limit; without one only the disk limits */
  constructor(capacityBytes: number = Number.POSITIVE_INFINITY) {
    this.#capacityBytes = capacityBytes
  }

  /** Bytes held. */
  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Bytes left of the capacity; infinite when none was declared. */
  get leftBytes(): number {
    return Math.max(0, this.#capacityBytes - this.#usedBytes)
  }

  /** @throws MurmurateError `INSUFFICIENT_STORAGE` when the capacity does not allow it */
  claim(bytes: number): void {
    if (!this.tryClaim(bytes)) throw insufficientStorage(bytes, this.leftBytes)
  }

  /** Takes the bytes, or tells that the capacity does not allow it. */
  tryClaim(bytes: number): boolean {
    if (bytes > this.leftBytes) return false
    this.#usedBytes += bytes
    return true
  }

  /** Counts bytes that are there already, allowed or not. */
  count(bytes: number): void {
    this.#usedBytes += bytes
  }

  /** Gives bytes back. */
  release(bytes: number): void {
    this.#usedBytes = Math.max(0, this.#usedBytes - bytes)
  }
}
