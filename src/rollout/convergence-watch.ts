import { isDeepStrictEqual } from 'node:util'
import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import type { Clock, Timer } from '../core/environment.js'
import type { Membership } from '../fleet/membership.js'
import type { Pulses } from '../fleet/pulse.js'
import { isComplete, type ModelConvergenceStatus, type Verdict } from './convergence.js'
import type { DeploymentTracker } from './tracker.js'

/** Options of a subscription. */
export interface WatchOptions extends AbortOptions {
  /** Go on after the rollout is complete. @default false */
  readonly follow?: boolean
  /** Wait for a rollout that this node has not heard of yet, instead of failing with `MODEL_NOT_FOUND`. @default false */
  readonly wait?: boolean
}

/** The verdict that a subscription is about. */
export interface WatchedVerdict {
  /** The verdict now; undefined when there is none yet. Cheap: asked after every change. */
  read(): Verdict | undefined
  /** What was read last with what it was computed from, to be handed out. */
  stamped(verdict: Verdict): ModelConvergenceStatus
  /** Time until it changes without anything else happening, ms; undefined when never. */
  untilNextDue(): number | undefined
}

/** What a subscription listens to. */
export interface WatchComponents {
  readonly verdicts: WatchedVerdict
  readonly tracker: DeploymentTracker
  readonly membership: Membership
  readonly pulses: Pulses
  readonly clock: Clock
  /** A subscription hands out at most one verdict in this time, ms. */
  readonly coalesceMs: number
}

/**
 * Hands out the verdict now and after each change; never two equal ones in a row.
 *
 * @throws MurmurateError `ABORTED`, `NOT_STARTED` when the node is stopped meanwhile
 */
export async function* watchConvergence(
  components: WatchComponents,
  { signal, follow = false }: WatchOptions
): AsyncGenerator<ModelConvergenceStatus> {
  const ends = [signal, components.membership.stopping]
  const changes = new Changes(components, ends)
  let last: Verdict | undefined
  try {
    for (;;) {
      for (const end of ends) throwIfAborted(end)
      const verdict = components.verdicts.read()
      const isNews = !isDeepStrictEqual(verdict, last)
      last = verdict
      if (verdict !== undefined && isNews) yield components.verdicts.stamped(verdict)
      if (verdict !== undefined && isComplete(verdict) && !follow) return
      await changes.next()
    }
  } finally {
    changes.stop()
  }
}

/** Waits for the next change, at least `coalesceMs` after the one before. */
class Changes {
  readonly #components: WatchComponents
  readonly #stops: (() => void)[]
  #hasChanged = false
  #wake: (() => void) | undefined
  #coalesceTimer: Timer | undefined
  #dueTimer: Timer | undefined

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
    const { verdicts, clock, coalesceMs } = this.#components
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#coalesceTimer = clock.setTimer(coalesceMs, () => {
      this.#wake = resolve
      if (this.#hasChanged) this.#deliver()
    })
    const dueMs = verdicts.untilNextDue()
    this.#dueTimer?.cancel()
    this.#dueTimer = dueMs === undefined ? undefined : clock.setTimer(dueMs, () => this.#change())
    return promise
  }

  stop(): void {
    this.#coalesceTimer?.cancel()
    this.#dueTimer?.cancel()
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
