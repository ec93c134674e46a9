import { abortedError, throwIfAborted } from '../core/abort.js'
import { transferPriorities, type TransferPriority } from './intent.js'

interface Waiting {
  readonly rank: number
  readonly grant: () => void
}

/** Lets a few transfers run at a time: the most urgent first, and among equals the one that came first. */
export class TransferSlots {
  readonly #capacity: number
  #free: number
  readonly #waiting: Waiting[] = []

  /** @param capacity - how many may run at a time */
  constructor(capacity: number) {
    this.#capacity = capacity
    this.#free = capacity
  }

  /** How many run. */
  get active(): number {
    return this.#capacity - this.#free
  }

  /** Runs the task when its turn comes. Rejects with `ABORTED` when the signal fires while it waits. */
  async run<T>(priority: TransferPriority, signal: AbortSignal, task: () => Promise<T>): Promise<T> {
    await this.#acquire(transferPriorities.indexOf(priority), signal)
    try {
      throwIfAborted(signal)
      return await task()
    } finally {
      this.#release()
    }
  }

  #acquire(rank: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(abortedError(signal))
    if (this.#free > 0) {
      this.#free -= 1
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1)
        reject(abortedError(signal))
      }
      const grant = (): void => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      }
      const waiting: Waiting = { rank, grant }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiting.push(waiting)
    })
  }

  #release(): void {
    const next = this.#waiting.toSorted((a, b) => a.rank - b.rank)[0]
    if (next === undefined) {
      this.#free += 1
      return
    }
    this.#waiting.splice(this.#waiting.indexOf(next), 1)
    next.grant()
  }
}
