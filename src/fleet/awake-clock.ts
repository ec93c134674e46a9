import type { Clock, Timer } from '../core/environment.js'
import { presenceDefaults } from './presence-presets.js'

/**
 * Time without the parts that this process slept through: stopped, swapped out, on a machine that was suspended. A timer that
 * fires late tells of it. What others sent meanwhile waits in the sockets and must be read before anybody is judged: the time
 * that was lost counts for nobody, and a little more, so that what was due is due again after the reading.
 */
export class AwakeClock {
  readonly #clock: Clock
  readonly #onAlarm: () => void
  readonly #onSlept: () => void
  #sleptMs = 0
  #dueAtMs = Infinity
  #timer: Timer | undefined

  /** @param onSlept - called once for each time that this process was held up */
  constructor(clock: Clock, onAlarm: () => void, onSlept: () => void) {
    this.#clock = clock
    this.#onAlarm = onAlarm
    this.#onSlept = onSlept
  }

  /** Milliseconds awake since some fixed moment. */
  now(): number {
    const lateMs = this.#clock.monotonic() - this.#dueAtMs
    if (lateMs > presenceDefaults.lateMs) {
      this.#sleptMs += lateMs + presenceDefaults.readingMs
      this.#arm(presenceDefaults.readingMs)
      this.#onSlept()
    }
    return this.#clock.monotonic() - this.#sleptMs
  }

  /** Rings the alarm at this moment of `now()`, but not before what came while it slept was read; replaces the one before. */
  alarmAt(moment: number): void {
    this.#arm(Math.max(1, moment - this.now()))
  }

  /** No alarm any more. */
  cancel(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#dueAtMs = Infinity
  }

  #arm(delayMs: number): void {
    this.cancel()
    if (delayMs === Infinity) return
    this.#dueAtMs = this.#clock.monotonic() + delayMs
    this.#timer = this.#clock.setTimer(delayMs, () => this.#ring())
  }

  #ring(): void {
    this.now()
    this.#onAlarm()
  }
}
