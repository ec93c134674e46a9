import { withDeadline } from '../core/abort.js'
import type { Clock } from '../core/environment.js'
import type { ModelId } from '../core/ids.js'
import type { Runtime, RuntimeArtifact, RuntimeFactory } from './runtime.js'

/** How long the calls of a runtime may take. */
export interface RuntimeTimeouts {
  /** `load` or `unload`, ms. */
  readonly loadTimeoutMs: number
  /** `check` or `ready`, ms. */
  readonly checkTimeoutMs: number
}

/** A call whose signal has fired gets this long to end before the next one begins, ms. */
const graceMs = 5000

/**
 * A runtime whose calls end. Each has its time; one that overruns it, or is interrupted, is given a little longer to
 * stop, because the next call must not meet it at work. One that does not stop even then is left behind.
 *
 * The runtime is made at the first call, not before: what the application's factory throws fails that call and no more,
 * and a model that is not meant for this node never reaches it.
 */
export class GuardedRuntime {
  readonly #model: ModelId
  readonly #factory: RuntimeFactory
  readonly #clock: Clock
  readonly #timeouts: RuntimeTimeouts
  #runtime: Runtime | undefined

  constructor(model: ModelId, factory: RuntimeFactory, clock: Clock, timeouts: RuntimeTimeouts) {
    this.#model = model
    this.#factory = factory
    this.#clock = clock
    this.#timeouts = timeouts
  }

  /** @throws MurmurateError `TIMEOUT`, `ABORTED`, or what the runtime throws */
  load(artifact: RuntimeArtifact, signal: AbortSignal): Promise<void> {
    return this.#call('load()', this.#timeouts.loadTimeoutMs, signal, (runtime, inner) =>
      runtime.load(artifact, { signal: inner })
    )
  }

  /** @throws MurmurateError `TIMEOUT`, `ABORTED`, or what the runtime throws */
  check(signal: AbortSignal): Promise<void> {
    return this.#call('check()', this.#timeouts.checkTimeoutMs, signal, (runtime, inner) =>
      runtime.check({ signal: inner })
    )
  }

  /** @throws MurmurateError `TIMEOUT`, `ABORTED`, or what the runtime throws */
  unload(signal: AbortSignal): Promise<void> {
    return this.#call('unload()', this.#timeouts.loadTimeoutMs, signal, (runtime, inner) =>
      runtime.unload({ signal: inner })
    )
  }

  /** @throws MurmurateError `TIMEOUT`, `ABORTED`, or what the runtime throws */
  ready(signal: AbortSignal): Promise<boolean> {
    return this.#call('ready()', this.#timeouts.checkTimeoutMs, signal, (runtime, inner) =>
      runtime.ready === undefined ? true : runtime.ready({ signal: inner })
    )
  }

  async #call<T>(
    step: string,
    timeoutMs: number,
    signal: AbortSignal,
    task: (runtime: Runtime, signal: AbortSignal) => Promise<T> | T
  ): Promise<T> {
    const what = `The runtime's ${step} for ${this.#model}`
    let ended: Promise<unknown> = Promise.resolve()
    const run = (inner: AbortSignal): Promise<T> => {
      // In an async function: an application without types may throw at once, or return what is no promise.
      const result = (async () => task((this.#runtime ??= this.#factory(this.#model)), inner))()
      ended = result.then(
        () => {},
        () => {}
      )
      return result
    }
    try {
      return await withDeadline(this.#clock, timeoutMs, run, { signal, what })
    } catch (error) {
      await withDeadline(this.#clock, graceMs, () => ended).catch(() => {})
      throw error
    }
  }
}
