/** How much a bucket holds and how fast it fills. */
export interface TokenBucketInit {
  /** Tokens of a full bucket: what may come at once. */
  readonly capacity: number
  /** Tokens that come back each second. */
  readonly perSecond: number
  /** Buckets that are kept at most. */
  readonly maxKeys: number
}

interface Level {
  readonly tokens: number
  readonly atMs: number
}

/**
 * A token bucket for each key. Time is passed in, in ms of a clock that never goes back.
 *
 * A bucket that nobody touched for `capacity / perSecond` seconds is full again, so it is forgotten and nothing is lost: the
 * memory is that of the keys of these seconds, and never above `maxKeys`. Beyond that the bucket touched longest ago goes.
 */
export class TokenBuckets<Key> {
  readonly #init: TokenBucketInit
  /** Touched longest ago first. */
  readonly #levels = new Map<Key, Level>()

  constructor(init: TokenBucketInit) {
    this.#init = init
  }

  /** Buckets in memory. */
  get size(): number {
    return this.#levels.size
  }

  /** Whether tokens of this key were taken lately. */
  has(key: Key): boolean {
    return this.#levels.has(key)
  }

  /** Tokens in a bucket; below 0 when more was charged than there was. */
  available(key: Key, nowMs: number): number {
    const { capacity, perSecond } = this.#init
    const level = this.#levels.get(key)
    if (level === undefined) return capacity
    return Math.min(capacity, level.tokens + ((nowMs - level.atMs) / 1000) * perSecond)
  }

  /** Takes tokens if there are as many, else none. */
  take(key: Key, amount: number, nowMs: number): boolean {
    if (this.available(key, nowMs) < amount) return false
    this.charge(key, amount, nowMs)
    return true
  }

  /** Takes tokens in any case: what is missing has to come back first, at most one full bucket. */
  charge(key: Key, amount: number, nowMs: number): void {
    const { capacity } = this.#init
    const tokens = Math.max(-capacity, this.available(key, nowMs) - amount)
    this.#levels.delete(key)
    this.#makeRoom(nowMs)
    this.#levels.set(key, { tokens: Math.min(capacity, tokens), atMs: nowMs })
  }

  /** Forgets all keys. */
  clear(): void {
    this.#levels.clear()
  }

  #makeRoom(nowMs: number): void {
    for (const key of this.#levels.keys()) {
      if (this.#levels.size < this.#init.maxKeys && this.available(key, nowMs) < this.#init.capacity) return
      this.#levels.delete(key)
    }
  }
}
