import { every, type Environment, type Timer } from '../core/environment.js'
import { Listeners } from '../core/listeners.js'
import type { Logger } from '../core/logger.js'

/** What an interest needs. */
export interface InterestInit {
  /** What is watched, for the log. */
  readonly what: string
  readonly environment: Environment
  readonly logger: Logger
  /** How long an interest lasts after it was last expressed, ms. */
  readonly interestMs: number
  /** Tells the others that somebody here watches. */
  readonly express: () => void
}

/** Who watches something: on this node by listeners, and whether anybody elsewhere does. */
export class Interest<Observed> {
  readonly #init: InterestInit
  readonly #listeners: Listeners<[observed: Observed]>
  #isRunning = false
  #wantedUntil = -Infinity
  #timer: Timer | undefined

  constructor(init: InterestInit) {
    this.#init = init
    this.#listeners = new Listeners(init.what, init.logger)
  }

  start(): void {
    this.#isRunning = true
    if (this.isWatched) this.#begin()
  }

  stop(): void {
    this.#isRunning = false
    this.#timer?.cancel()
    this.#wantedUntil = -Infinity
  }

  /** Whether somebody on this node watches. */
  get isWatched(): boolean {
    return this.#listeners.size > 0
  }

  /** Whether somebody elsewhere watches, as far as was heard. */
  get isWanted(): boolean {
    return this.#init.environment.clock.monotonic() <= this.#wantedUntil
  }

  /** Somebody elsewhere has said that it watches. */
  heard(): void {
    this.#wantedUntil = this.#init.environment.clock.monotonic() + this.#init.interestMs
  }

  /** Tells the others, if somebody here watches. */
  express(): void {
    if (this.isWatched) this.#init.express()
  }

  /** Hands out what is observed, and has the others know that it is wanted, until the result is called. */
  watch(listener: (observed: Observed) => void): () => void {
    const remove = this.#listeners.add(listener)
    if (this.#listeners.size === 1 && this.#isRunning) this.#begin()
    return () => {
      remove()
      if (!this.isWatched) this.#timer?.cancel()
    }
  }

  /** Tells those who watch here. */
  tell(observed: Observed): void {
    this.#listeners.tell(observed)
  }

  #begin(): void {
    this.#init.express()
    this.#timer?.cancel()
    // Three expressions an interest: two may get lost.
    this.#timer = every(this.#init.environment, this.#init.interestMs / 3, () => this.#init.express())
  }
}
