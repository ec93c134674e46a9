import { messageOf } from './errors.js'
import type { Logger } from './logger.js'

/**
 * Who wants to hear of something. What a listener throws is its own fault: it is logged, the others are told all the same, and
 * neither whoever caused the event nor whoever told of it is blamed.
 */
export class Listeners<Arguments extends readonly unknown[]> {
  readonly #what: string
  readonly #logger: Logger
  readonly #added = new Set<{ readonly listener: (...values: Arguments) => void }>()

  /** @param what - what is heard of, for the log: `releases` */
  constructor(what: string, logger: Logger) {
    this.#what = what
    this.#logger = logger
  }

  /** How many there are. */
  get size(): number {
    return this.#added.size
  }

  /** Adds a listener; the result removes it again. One that is added twice is told twice. */
  add(listener: (...values: Arguments) => void): () => void {
    const added = { listener }
    this.#added.add(added)
    return () => void this.#added.delete(added)
  }

  /** Tells all of them, in the order in which they were added. */
  tell(...values: Arguments): void {
    for (const { listener } of this.#added) {
      try {
        listener(...values)
      } catch (error) {
        this.#logger.error(`a listener of ${this.#what} failed: ${messageOf(error)}`)
      }
    }
  }
}
