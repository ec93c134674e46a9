/** Settles when the process is asked to end; the same signal again ends it at once. */
export function signalled(): { readonly promise: Promise<void>; readonly signal: AbortSignal } {
  const { promise, resolve } = Promise.withResolvers<void>()
  const controller = new AbortController()
  const onSignal = (): void => {
    controller.abort()
    resolve()
  }
  process.once('SIGINT', onSignal)
  process.once('SIGTERM', onSignal)
  return { promise, signal: controller.signal }
}
