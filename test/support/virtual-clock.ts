import '../../src/core/polyfill.js'
import type { Clock, Environment, Random, Timer } from '../../src/core/environment.js'

interface Entry {
  readonly dueMs: number
  readonly order: number
  /** Undefined once it has run or was cancelled. */
  callback: (() => void) | undefined
}

/** How the virtual clock lets promises run. */
export interface VirtualClockOptions {
  /** Wall clock at the beginning, ms since 1970. */
  readonly startMs?: number
  /** Turns of the event loop between two moments: each lets all promises run; work that leaves the process may need more. */
  readonly settleTurns?: number
}

/** A clock that stands still until it is advanced; timers then run in order, and promises settle in between. */
export class VirtualClock implements Clock {
  readonly #startMs: number
  readonly #settleTurns: number
  #elapsedMs = 0
  #order = 0
  /** A binary heap by due time, then by age. */
  readonly #heap: Entry[] = []
  #pending = 0

  constructor(options: VirtualClockOptions = {}) {
    this.#startMs = options.startMs ?? 1_750_000_000_000
    this.#settleTurns = options.settleTurns ?? 1
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
    const entry: Entry = { dueMs: this.#elapsedMs + Math.max(0, delayMs), order: this.#order++, callback }
    this.#push(entry)
    this.#pending++
    return { cancel: () => void this.#take(entry) }
  }

  /** Runs everything that is due within the next `ms`. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#elapsedMs + ms
    await this.settle()
    for (let next = this.#heap[0]; next !== undefined && next.dueMs <= endMs; next = this.#heap[0]) {
      this.#elapsedMs = Math.max(this.#elapsedMs, next.dueMs)
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
      const next = this.#heap[0]
      if (next === undefined || next.dueMs > limit) throw new Error(`Not settled within ${limitMs} ms of virtual time`)
      await this.advance(next.dueMs - this.#elapsedMs)
    }
    return promise
  }

  /** Lets promises run without moving the clock. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < this.#settleTurns; turn++) await new Promise((resolve) => setImmediate(resolve))
  }

  /** All timers of one moment, before promises get their turn: as in Node when the process was busy. */
  #runDue(): void {
    for (let next = this.#heap[0]; next !== undefined && next.dueMs <= this.#elapsedMs; next = this.#heap[0]) {
      const entry = this.#pop()
      if (entry !== undefined) this.#take(entry)?.()
    }
  }

  /** The callback of a timer, for the one time that it is run or cancelled. */
  #take(entry: Entry): (() => void) | undefined {
    const { callback } = entry
    entry.callback = undefined
    if (callback !== undefined) this.#pending--
    return callback
  }

  #push(entry: Entry): void {
    const heap = this.#heap
    let at = heap.push(entry) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#swapIfEarlier(at, parent)) return
      at = parent
    }
  }

  #pop(): Entry | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    heap[0] = last
    for (let at = 0; ;) {
      const [left, right] = [2 * at + 1, 2 * at + 2]
      const child = right < heap.length && this.#isEarlier(right, left) ? right : left
      if (child >= heap.length || !this.#swapIfEarlier(child, at)) return first
      at = child
    }
  }

  #isEarlier(one: number, two: number): boolean {
    const [a, b] = [this.#heap[one], this.#heap[two]]
    if (a === undefined || b === undefined) return false
    return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order)
  }

  #swapIfEarlier(child: number, parent: number): boolean {
    const [a, b] = [this.#heap[child], this.#heap[parent]]
    if (a === undefined || b === undefined || !this.#isEarlier(child, parent)) return false
    this.#heap[child] = b
    this.#heap[parent] = a
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
