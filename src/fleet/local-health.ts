import { presenceDefaults } from './presence-presets.js'

/**
 * How much this node doubts itself, 0 to 7 (Lifeguard's local health): it waits (1 + value) times as long before it accuses.
 * One up with each sign that the fault is its own, one down after each round without any.
 */
export class LocalHealth {
  readonly #roundMs: number
  #value = 0
  #roundEndsAt: number | undefined
  #isGoodRound = false

  /** @param roundMs - in which each watched peer is heard once */
  constructor(roundMs: number) {
    this.#roundMs = roundMs
  }

  /** 0 for sound. */
  get value(): number {
    return this.#value
  }

  /** A timer was late, a helper did not answer, or this node had to refute an accusation. */
  worsen(): void {
    this.#value = Math.min(this.#value + 1, presenceDefaults.maxLocalHealth)
    this.#isGoodRound = false
  }

  /** To be called often: ends rounds. */
  tick(now: number): void {
    if (this.#roundEndsAt !== undefined && now < this.#roundEndsAt) return
    if (this.#isGoodRound) this.#value = Math.max(this.#value - 1, 0)
    this.#roundEndsAt = now + this.#roundMs
    this.#isGoodRound = true
  }
}
