import '../../src/core/polyfill.js'
import type { Clock, Environment, Random, Timer } from '../../src/core/environment.js'

interface Entry {
  /** Undefined once it has run or was cancelled. */
  callback: (() => void) | undefined
}

/** How the virtual clock lets promises run. */
export interface VirtualClockOptions {
  /** Wall clock at the beginning, ms since 1970. */
  readonly startMs?: number
  /** Turns of the event loop between two moments: each lets all promises run; work that leaves the process may need more. */
  readonly settleTurns?: number
  /**
   * Timers run at whole multiples of this, ms, never too early, as those of Node do with 1. Everything of one moment runs
   * before promises settle, so that a large simulation settles a thousand times a second and not once for each message.
   * @default none: a timer runs at the very moment it was set for
   */
  readonly resolutionMs?: number
}

/** A clock that stands still until it is advanced; timers then run in order, and promises settle in between. */
export class VirtualClock implements Clock {
  readonly #startMs: number
  readonly #settleTurns: number
  readonly #resolutionMs: number
  #elapsedMs = 0
  /** Moments at which something is due: a binary heap. */
  readonly #moments: number[] = []
  /** What is due at a moment, oldest first. */
  readonly #due = new Map<number, Entry[]>()
  #pending = 0

  constructor(options: VirtualClockOptions = {}) {
    this.#startMs = options.startMs ?? 1_750_000_000_000
    this.#settleTurns = options.settleTurns ?? 1
    this.#resolutionMs = options.resolutionMs ?? 0
  }

  /** Timers that have not run. */
  get pending(): number {
    return this.#pending
  }

  now(): number {
    return this.#startMs + this.#elapsedMs
  }

  monotonic(): number {
    return this.#elapsedMs
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const entry: Entry = { callback }
    const dueMs = this.#rounded(this.#elapsedMs + Math.max(0, delayMs))
    const others = this.#due.get(dueMs)
    if (others !== undefined) others.push(entry)
    else {
      this.#due.set(dueMs, [entry])
      this.#push(dueMs)
    }
    this.#pending++
    return { cancel: () => void this.#take(entry) }
  }

  /** Runs everything that is due within the next `ms`. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#elapsedMs + ms
    await this.settle()
    for (let next = this.#moments[0]; next !== undefined && next <= endMs; next = this.#moments[0]) {
      this.#elapsedMs = Math.max(this.#elapsedMs, next)
      this.#runDue()
      await this.settle()
    }
    this.#elapsedMs = endMs
  }

  /** Advances until the promise settles. Rejects when it does not within `limitMs` of virtual time. */
  async run<T>(promise: Promise<T>, limitMs = 600_000): Promise<T> {
    const state = { settled: false }
    const mark = (): void => void (state.settled = true)
    promise.then(mark, mark)
    const limit = this.#elapsedMs + limitMs
    await this.settle()
    while (!state.settled) {
      const next = this.#moments[0]
      if (next === undefined || next > limit) throw new Error(`Not settled within ${limitMs} ms of virtual time`)
      await this.advance(next - this.#elapsedMs)
    }
    return promise
  }

  /** Lets promises run without moving the clock. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < this.#settleTurns; turn++) await new Promise((resolve) => setImmediate(resolve))
  }

  /** All timers of one moment, before promises get their turn: as in Node when the process was busy. */
  #runDue(): void {
    for (let next = this.#moments[0]; next !== undefined && next <= this.#elapsedMs; next = this.#moments[0]) {
      // What is set meanwhile for this very moment is added to the list that is being run.
      for (const entry of this.#due.get(next) ?? []) this.#take(entry)?.()
      this.#due.delete(next)
      this.#pop()
    }
  }

  /** The callback of a timer, for the one time that it is run or cancelled. */
  #take(entry: Entry): (() => void) | undefined {
    const { callback } = entry
    entry.callback = undefined
    if (callback !== undefined) this.#pending--
    return callback
  }

  #rounded(dueMs: number): number {
    return this.#resolutionMs === 0 ? dueMs : Math.ceil(dueMs / this.#resolutionMs) * this.#resolutionMs
  }

  #push(moment: number): void {
    const heap = this.#moments
    let at = heap.push(moment) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#swapIfEarlier(at, parent)) return
      at = parent
    }
  }

  #pop(): void {
    const heap = this.#moments
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    heap[0] = last
    for (let at = 0; ;) {
      const [left, right] = [2 * at + 1, 2 * at + 2]
      const child = right < heap.length && this.#isEarlier(right, left) ? right : left
      if (child >= heap.length || !this.#swapIfEarlier(child, at)) return
      at = child
    }
  }

  #isEarlier(one: number, two: number): boolean {
    return (this.#moments[one] ?? Infinity) < (this.#moments[two] ?? Infinity)
  }

  #swapIfEarlier(child: number, parent: number): boolean {
    const [a, b] = [this.#moments[child], this.#moments[parent]]
    if (a === undefined || b === undefined || a >= b) return false
    this.#moments[child] = b
    this.#moments[parent] = a
    return true
  }
}

/** Chance that repeats with its seed: mulberry32. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return { float: next, bytes: (length) => Uint8Array.from({ length }, () => Math.floor(next() * 256)) }
}

/** A virtual clock and the chance of a seed. */
export function virtualEnvironment(
  seed: number,
  options: VirtualClockOptions = {}
): Environment & { readonly clock: VirtualClock } {
  return { clock: new VirtualClock(options), random: seededRandom(seed), isSequential: true }
}
