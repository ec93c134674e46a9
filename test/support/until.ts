import '../../src/core/polyfill.js'
import { withDeadline } from '../../src/core/abort.js'
import { sleep, systemEnvironment } from '../../src/core/environment.js'

/** Waits until the condition holds; fails after `deadlineMs`. For what no event tells. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  deadlineMs = 10_000
): Promise<void> {
  const { clock } = systemEnvironment
  const poll = async (signal: AbortSignal): Promise<void> => {
    while (!(await condition())) await sleep(clock, 5, signal)
  }
  await withDeadline(clock, deadlineMs, poll, { what })
}

/** The promise, or a failure that names what did not happen in time. */
export async function inTime<T>(what: string, promise: Promise<T>, deadlineMs = 10_000): Promise<T> {
  return withDeadline(systemEnvironment.clock, deadlineMs, () => promise, { what })
}
