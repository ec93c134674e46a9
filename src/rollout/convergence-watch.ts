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
  /** A node unreachable for longer than this is blocked by its network, ms: that changes a verdict without an event. */
  readonly offlineAfterMs: number
}

/**
 * Hands out the verdict now and after each change; never two equal ones in a row.
 *
 * @throws MurmurateError `ABORTED`, `NOT_STARTED` when the node is stopped meanwhile
 */
export async function* watchConvergence(
  read: () => ModelConvergenceStatus | undefined,
  components: WatchComponents,
  { signal, follow = false }: WatchOptions
): AsyncGenerator<ModelConvergenceStatus> {
  const ends = [signal, components.membership.stopping]
  const changes = new Changes(components, ends)
  let last: string | undefined
  try {
    for (;;) {
      for (const end of ends) throwIfAborted(end)
      const status = read()
      const text = contentOf(status)
      if (status !== undefined && text !== last) yield status
      last = text
      if (status !== undefined && isComplete(status) && !follow) return
      await changes.next()
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
  #coalesceTimer: Timer | undefined
  #offlineTimer: Timer | undefined

  constructor(components: WatchComponents, ends: readonly (AbortSignal | undefined)[]) {
    const { tracker, membership, pulses } = components
    this.#components = components
    const onChange = (): void => this.#change()
    for (const end of ends) end?.addEventListener('abort', onChange)
    this.#stops = [
      tracker.onChange(onChange),
      membership.onChange(onChange),
      pulses.watch(onChange),
      ...ends.map((end) => () => end?.removeEventListener('abort', onChange))
    ]
  }

  next(): Promise<void> {
    const { clock, coalesceMs } = this.#components
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#coalesceTimer = clock.setTimer(coalesceMs, () => {
      this.#wake = resolve
      if (this.#hasChanged) this.#deliver()
    })
    const offlineMs = this.#untilNextIsOffline()
    this.#offlineTimer?.cancel()
    this.#offlineTimer = offlineMs === undefined ? undefined : clock.setTimer(offlineMs, () => this.#change())
    return promise
  }

  stop(): void {
    this.#coalesceTimer?.cancel()
    this.#offlineTimer?.cancel()
    for (const stop of this.#stops) stop()
  }

  /** Time until the next unreachable member counts as blocked by its network. */
  #untilNextIsOffline(): number | undefined {
    const { membership, clock, offlineAfterMs } = this.#components
    const now = clock.now()
    const waits = membership.members().flatMap(({ offlineSince }) => {
      const waitMs = offlineSince === undefined ? 0 : offlineSince + offlineAfterMs - now
      return waitMs > 0 ? [waitMs] : []
    })
    return waits.length === 0 ? undefined : Math.min(...waits)
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
