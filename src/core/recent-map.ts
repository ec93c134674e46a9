/** A map that forgets the key that was set longest ago when it has too many: what strangers name cannot fill the memory. */
export class RecentMap<Key, Value> {
  readonly #values = new Map<Key, Value>()
  readonly #maxSize: number

  constructor(maxSize: number) {
    this.#maxSize = maxSize
  }

  get size(): number {
    return this.#values.size
  }

  get(key: Key): Value | undefined {
    return this.#values.get(key)
  }

  has(key: Key): boolean {
    return this.#values.has(key)
  }

  /** Sets a value, which makes its key the newest. */
  set(key: Key, value: Value): void {
    this.#values.delete(key)
    const oldest = this.#values.size >= this.#maxSize ? this.#values.keys().next().value : undefined
    if (oldest !== undefined) this.#values.delete(oldest)
    this.#values.set(key, value)
  }

  delete(key: Key): boolean {
    return this.#values.delete(key)
  }

  clear(): void {
    this.#values.clear()
  }

  /** Oldest first. */
  [Symbol.iterator](): IterableIterator<[Key, Value]> {
    return this.#values.entries()
  }
}
