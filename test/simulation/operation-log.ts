import { createHash } from 'node:crypto'
import type { Clock } from '../../src/core/environment.js'
import type { Entry } from '../../src/record/entry.js'

/** Lines that a report of a failure shows of what touched a writer or page. */
const shownLines = 30
/** Lines that are hashed together. */
const hashedLines = 1000

/** What was done to the mesh, in order, and a hash over that and all that happened in it. */
export class OperationLog {
  readonly #clock: Clock
  readonly #lines: string[] = []
  readonly #hash = createHash('sha256')
  #waiting: string[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Somebody did something. */
  add(operation: string): void {
    const line = `${(this.#clock.monotonic() / 1000).toFixed(3)} s ${operation}`
    this.#lines.push(line)
    this.#trace(line)
  }

  /** A node has taken an entry: too many to keep. */
  taken(node: number, { writer, page, seq, epoch }: Entry): void {
    this.#trace(`${this.#clock.monotonic()} ${node} ${writer} ${page} ${seq} ${epoch}`)
  }

  /** The same in two runs exactly when the same happened at the same moments. */
  digest(): string {
    this.#flush()
    return this.#hash.copy().digest('hex')
  }

  /** The last operations that name one of these, oldest first. */
  touching(names: readonly string[]): string[] {
    return this.#lines.filter((line) => names.some((name) => line.includes(name))).slice(-shownLines)
  }

  #trace(line: string): void {
    this.#waiting.push(line)
    if (this.#waiting.length >= hashedLines) this.#flush()
  }

  #flush(): void {
    this.#hash.update(this.#waiting.join('\n'))
    this.#waiting = []
  }
}
