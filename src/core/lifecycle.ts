import { messageOf } from './errors.js'
import type { Logger } from './logger.js'

/** Something that runs between start and stop. */
export interface Startable {
  /** Starts it, or throws and leaves nothing behind. */
  start(): Promise<void> | void
  /** Stops it and frees everything; harmless when never started or already stopped. */
  stop(): Promise<void> | void
}

/** Starts parts in order, rolls back when one fails, and stops them in reverse. Restartable. */
export class Lifecycle implements Startable {
  readonly #parts: readonly (readonly [name: string, part: Startable])[]
  readonly #logger: Logger
  readonly #running: (readonly [name: string, part: Startable])[] = []
  #transition: Promise<void> = Promise.resolve()
  #started = false

  constructor(parts: readonly (readonly [name: string, part: Startable])[], logger: Logger) {
    this.#parts = parts
    this.#logger = logger
  }

  /** Whether every part is running. */
  get started(): boolean {
    return this.#started
  }

  /** Starts all parts in order; when one throws, those before it are stopped again and the error is rethrown. */
  start(): Promise<void> {
    return this.#next(async () => {
      if (this.#started) return
      try {
        for (const entry of this.#parts) {
          await entry[1].start()
          this.#running.push(entry)
        }
        this.#started = true
      } catch (error) {
        await this.#stopRunning()
        throw error
      }
    })
  }

  /** Stops all parts in reverse; every part is stopped even when one throws, then the first error is rethrown. */
  stop(): Promise<void> {
    return this.#next(async () => {
      this.#started = false
      const failure = await this.#stopRunning()
      if (failure !== undefined) throw failure.error
    })
  }

  #next(step: () => Promise<void>): Promise<void> {
    const result = this.#transition.then(step)
    this.#transition = result.catch(() => {})
    return result
  }

  async #stopRunning(): Promise<{ error: unknown } | undefined> {
    let failure: { error: unknown } | undefined
    for (let entry = this.#running.pop(); entry !== undefined; entry = this.#running.pop()) {
      try {
        await entry[1].stop()
      } catch (error) {
        this.#logger.error(`stopping ${entry[0]} failed: ${messageOf(error)}`)
        failure ??= { error }
      }
    }
    return failure
  }
}
