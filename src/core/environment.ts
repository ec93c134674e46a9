import { randomBytes } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { abortedError } from './abort.js'

/** A pending timer. */
export interface Timer {
  /** Makes sure that the callback does not run any more. */
  cancel(): void
}

/** The only source of time. */
export interface Clock {
  /** Wall clock, ms since 1970. May jump; never used for order. */
  now(): number
  /** Milliseconds since some fixed moment; never goes back. */
  monotonic(): number
  /** Runs the callback once, `delayMs` from now. Does not keep the process alive. */
  setTimer(delayMs: number, callback: () => void): Timer
}

/** The only source of chance. */
export interface Random {
  /** Unpredictable bytes. */
  bytes(length: number): Uint8Array
  /** A number in [0, 1). */
  float(): number
}

/** Time and chance, passed to whoever needs them so that tests can bring their own. */
export interface Environment {
  readonly clock: Clock
  readonly random: Random
  /** Nothing may depend on the speed of threads either, so none are used: for a simulation. @default false */
  readonly isSequential?: boolean
}

/** Node runs timers above this at once instead of in 25 days. */
const maxTimeoutMs = 2 ** 31 - 1

function setSystemTimer(delayMs: number, callback: () => void): Timer {
  let handle: NodeJS.Timeout
  const arm = (leftMs: number): void => {
    const stepMs = Math.min(leftMs, maxTimeoutMs)
    handle = setTimeout(leftMs > stepMs ? () => arm(leftMs - stepMs) : callback, stepMs)
    handle.unref()
  }
  arm(delayMs)
  return { cancel: () => clearTimeout(handle) }
}

/** The machine's own clock and chance. */
export const systemEnvironment: Environment = Object.freeze({
  clock: {
    now: () => Date.now(),
    monotonic: () => performance.now(),
    setTimer: setSystemTimer
  },
  random: {
    bytes: (length: number) => new Uint8Array(randomBytes(length)),
    float: () => Math.random()
  }
})

/** Waits. Rejects with `ABORTED` when the signal fires first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(abortedError(signal))
    const onAbort = (): void => {
      timer.cancel()
      reject(abortedError(signal))
    }
    const timer = clock.setTimer(delayMs, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** Moves a period by up to +-25 %, so that nodes started together do not act together. */
export function jittered(random: Random, periodMs: number): number {
  return periodMs * (0.75 + 0.5 * random.float())
}

/**
 * Runs `task` again and again, `periodMs` (jittered) after the end of the previous run, until cancelled.
 * The task handles its own errors.
 */
export function every(environment: Environment, periodMs: number, task: () => void | Promise<void>): Timer {
  let cancelled = false
  let timer: Timer
  const schedule = (): void => {
    timer = environment.clock.setTimer(jittered(environment.random, periodMs), () => void run())
  }
  const run = async (): Promise<void> => {
    await task()
    if (!cancelled) schedule()
  }
  schedule()
  return {
    cancel() {
      cancelled = true
      timer.cancel()
    }
  }
}
