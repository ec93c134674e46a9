import './polyfill.js'
import { MurmurateError } from './errors.js'

/** Options of everything that can be stopped. */
export interface AbortOptions {
  /** Stops the operation; it then rejects with `ABORTED` (or the reason, where that is a MurmurateError). */
  readonly signal?: AbortSignal | undefined
}

/** What a deadline needs of a clock; `Clock` of the environment has it. */
export interface AlarmClock {
  /** Runs the callback once, `delayMs` from now, unless cancelled. */
  setTimer(delayMs: number, callback: () => void): { cancel(): void }
}

/** The error to throw when this signal has fired. */
export function abortedError(signal?: AbortSignal): MurmurateError {
  const reason: unknown = signal?.reason
  if (reason instanceof MurmurateError) return reason
  return new MurmurateError('ABORTED', 'The operation was aborted', { cause: reason })
}

/** Throws when the signal has fired. */
export function throwIfAborted(signal?: AbortSignal): void {
  if (signal?.aborted === true) throw abortedError(signal)
}

/** Settles as the promise does, or rejects as soon as the signal fires. The loser's rejection is swallowed. */
export async function raceSignal<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (signal === undefined) return promise
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => reject(abortedError(signal))
  if (signal.aborted) onAbort()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/**
 * Runs the task with a signal that fires after `timeoutMs` or with the outer signal, and rejects with `TIMEOUT` or
 * `ABORTED` even when the task ignores it. Under a signal that has fired, the task is not begun.
 */
export async function withDeadline<T>(
  clock: AlarmClock,
  timeoutMs: number,
  task: (signal: AbortSignal) => Promise<T>,
  options: AbortOptions & { readonly what?: string } = {}
): Promise<T> {
  const outer = options.signal
  throwIfAborted(outer)
  const controller = new AbortController()
  const what = options.what ?? 'The operation'
  const timer = clock.setTimer(timeoutMs, () =>
    controller.abort(
      new MurmurateError('TIMEOUT', `${what} did not end within ${timeoutMs} ms`, { details: { timeoutMs } })
    )
  )
  // Not AbortSignal.any: under a signal that lives as long as the node, Node 20 keeps every one that was made.
  const onAbort = (): void => controller.abort(abortedError(outer))
  outer?.addEventListener('abort', onAbort, { once: true })
  try {
    return await raceSignal(task(controller.signal), controller.signal)
  } finally {
    timer.cancel()
    outer?.removeEventListener('abort', onAbort)
  }
}
