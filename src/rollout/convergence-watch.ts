import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import type { Clock, Timer } from '../core/environment.js'
import type { Membership } from '../fleet/membership.js'
import type { Pulses } from '../fleet/pulse.js'
import { isComplete, type ModelConvergenceStatus } from './convergence.js'
import type { DeploymentTracker } from './tracker.js'

/** Options of a subscription. */
export interface WatchOptions extends AbortOptions {
  /** Go on after the rollout is complete. @default false */
  readonly follow?: boolean
  /** Wait for a rollout that this node has not heard of yet, instead of failing with `MODEL_NOT_FOUND`. @default false */
  readonly wait?: boolean
}

/** What a subscription listens to. */
export interface WatchComponents {
  readonly tracker: DeploymentTracker
  readonly membership: Membership
  readonly pulses: Pulses
  readonly clock: Clock
  readonly coalesceMs: number
}

/** Hands out the verdict now and after each change; never two equal ones in a row. */
export async function* watchConvergence(
  read: () => ModelConvergenceStatus | undefined,
  components: WatchComponents,
  { signal, follow = false }: WatchOptions
): AsyncGenerator<ModelConvergenceStatus> {
  const changes = new Changes(components, signal)
  let last: string | undefined
  try {
    for (;;) {
      const status = read()
      const text = contentOf(status)
      if (status !== undefined && text !== last) yield status
      last = text
      if (status !== undefined && isComplete(status) && !follow) return
      await changes.next()
      throwIfAborted(signal)
    }
  } finally {
    changes.stop()
  }
}

/** What makes a verdict another one: everything but when and from what it was computed. */
function contentOf(status: ModelConvergenceStatus | undefined): string | undefined {
  return status === undefined ? undefined : JSON.stringify({ ...status, asOf: undefined })
}

/** Waits for the next change, at least `coalesceMs` after the one before. */
class Changes {
  readonly #components: WatchComponents
  readonly #stops: (() => void)[]
  #hasChanged = false
  #wake: (() => void) | undefined
  #timer: Timer | undefined

  constructor(components: WatchComponents, signal: AbortSignal | undefined) {
    const { tracker, membership, pulses } = components
    this.#components = components
    const onChange = (): void => this.#change()
    signal?.addEventListener('abort', onChange)
    this.#stops = [
      tracker.onChange(onChange),
      membership.onChange(onChange),
      pulses.watch(onChange),
      () => signal?.removeEventListener('abort', onChange)
    ]
  }

  next(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#timer = this.#components.clock.setTimer(this.#components.coalesceMs, () => {
      this.#wake = resolve
      if (this.#hasChanged) this.#deliver()
    })
    return promise
  }

  stop(): void {
    this.#timer?.cancel()
    for (const stop of this.#stops) stop()
  }

  #change(): void {
    this.#hasChanged = true
    this.#deliver()
  }

  #deliver(): void {
    const wake = this.#wake
    if (wake === undefined) return
    this.#wake = undefined
    this.#hasChanged = false
    wake()
  }
}
