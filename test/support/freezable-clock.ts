import type { Clock, Timer } from '../../src/core/environment.js'

/** The clock of one process that can be stopped, as by SIGSTOP: its timers wait, time goes on. */
export class FreezableClock implements Clock {
  readonly #clock: Clock
  #isFrozen = false
  #held: (() => void)[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  now(): number {
    return this.#clock.now()
  }

  monotonic(): number {
    return this.#clock.monotonic()
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    let isCancelled = false
    const run = (): void => {
      if (isCancelled) return
      if (this.#isFrozen) this.#held.push(run)
      else callback()
    }
    const timer = this.#clock.setTimer(delayMs, run)
    return {
      cancel: () => {
        isCancelled = true
        timer.cancel()
      }
    }
  }

  /** Holds all timers back; for ever, if it is not thawed. */
  freeze(): void {
    this.#isFrozen = true
  }

  /** Runs what became due meanwhile, late. */
  thaw(): void {
    this.#isFrozen = false
    for (const run of this.#held.splice(0)) run()
  }
}
