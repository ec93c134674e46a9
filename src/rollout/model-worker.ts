import { lt } from 'semver'
import type { Environment, Timer } from '../core/environment.js'
import { messageOf } from '../core/errors.js'
import type { ModelId, RolloutId, VariantId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import type { Blobs } from '../blobs/blobs.js'
import type { Membership } from '../fleet/membership.js'
import type { PublishedRelease } from '../models/offers.js'
import type { ModelRegistry } from '../models/registry.js'
import type { Release } from '../models/release.js'
import { closestRejection, selectVariant, type VariantChoice } from '../models/variant.js'
import type { Deployment, DeploymentOutcome } from './deployment.js'
import { winningRollout, type Intent, type Rollout } from './intent.js'
import type { StatusChange } from './status.js'
import type { DeploymentTracker } from './tracker.js'

const bytesPerMb = 1024 * 1024

/** Settings of a worker. */
export interface ModelWorkerInit {
  /** What is blocked is looked at again after this time, ms; doubled after each failed transfer up to `retryMaxMs`. */
  readonly retryMs: number
  readonly retryMaxMs: number
}

/** What a worker is built from. */
export interface ModelWorkerComponents {
  readonly tracker: DeploymentTracker
  readonly registry: ModelRegistry
  readonly membership: Membership
  readonly blobs: Pick<Blobs, 'availableBytes' | 'heldBytes'>
  readonly environment: Environment
  readonly logger: Logger
}

/**
 * Brings one model on this node to where the document wants it, one step at a time. It is woken whenever something
 * that matters may have changed, looks at everything anew, and does what is next; so nothing depends on what woke it.
 */
export class ModelWorker {
  readonly #model: ModelId
  readonly #deployment: Deployment
  readonly #components: ModelWorkerComponents
  readonly #init: ModelWorkerInit
  readonly #stop = new AbortController()
  #cancel = new AbortController()
  #busyWith: Intent | undefined
  #running: Promise<void> | undefined
  #isDirty = false
  #isRestored = false
  #retries = 0
  /** The rollout that the retries were for. */
  #retried: RolloutId | undefined
  #timer: Timer | undefined

  constructor(model: ModelId, deployment: Deployment, components: ModelWorkerComponents, init: ModelWorkerInit) {
    this.#model = model
    this.#deployment = deployment
    this.#components = components
    this.#init = init
  }

  /** Something may have changed. */
  wake(): void {
    if (this.#stop.signal.aborted) return
    this.#isDirty = true
    this.#timer?.cancel()
    const winner = this.#winner()
    const isObsolete = winner === undefined || winner.cancelled || winner.intent.id !== this.#busyWith?.id
    const isWithdrawn = winner !== undefined && this.#known(winner.intent)?.id !== winner.intent.release
    if (this.#busyWith !== undefined && (isObsolete || isWithdrawn)) this.#cancel.abort()
    this.#begin()
  }

  /** The status of this node changed, perhaps because its own word came back from the mesh. */
  statusChanged(): void {
    if (this.#running === undefined && !this.#deployment.isInService) this.wake()
  }

  /** Stops at the next safe point; what was fetched is kept. */
  async stop(): Promise<void> {
    this.#stop.abort()
    this.#cancel.abort()
    await this.#running
    this.#timer?.cancel()
  }

  #begin(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
      // Woken while the last step ended.
      if (this.#isDirty && !this.#stop.signal.aborted) this.#begin()
    })
  }

  async #run(): Promise<void> {
    while (this.#isDirty && !this.#stop.signal.aborted) {
      this.#isDirty = false
      this.#cancel = new AbortController()
      try {
        await this.#step()
      } catch (error) {
        if (!this.#stop.signal.aborted && !this.#cancel.signal.aborted) await this.#explain(error)
      } finally {
        this.#busyWith = undefined
      }
    }
  }

  /** Something happened that no step expects: everyone can read of it, and it is tried again. */
  async #explain(error: unknown): Promise<void> {
    const { logger } = this.#components
    logger.error(`${this.#model}: ${messageOf(error)}`)
    this.#wakeLater()
    const { phase } = this.#deployment.status
    await this.#deployment
      .record({ phase, blocker: { reason: 'unknown', message: messageOf(error) } })
      .catch((cause: unknown) => logger.error(`${this.#model}: the status was not written: ${messageOf(cause)}`))
  }

  async #step(): Promise<void> {
    if (!this.#isRestored || !this.#deployment.isInService)
      this.#isRestored = await this.#deployment.restore(this.#stop.signal)
    if (!this.#isRestored) this.#wakeLater()
    const winner = this.#winner()
    if (winner === undefined) return
    if (winner.cancelled) return this.#settleCancelled(winner.intent)
    if (this.#isSettled(winner.intent)) return
    this.#busyWith = winner.intent
    const known = this.#known(winner.intent)
    if (known === undefined) return this.#report(winner.intent, { phase: 'queued', ...this.#unsigned(winner.intent) })
    if (known.id !== winner.intent.release) return this.#report(winner.intent, { phase: 'queued', ...outvoted(known) })
    await this.#pursue(winner.intent, known.release)
  }

  /** The release of that version that counts. */
  #known({ model, version }: Intent): PublishedRelease | undefined {
    return this.#components.registry.get(model, version)
  }

  /** Why the release that a rollout names does not count, if it is known at all. */
  #unsigned({ release }: Intent): Pick<StatusChange, 'blocker'> {
    const pending = this.#components.registry.pending(this.#model).find(({ id }) => id === release)
    if (pending === undefined) return {}
    const { publishers, missing } = pending
    const message = `${pending.release.version} needs ${missing} more signatures of publishers; signed by ${publishers.join(', ')}`
    return { blocker: { reason: 'unknown', message } }
  }

  #winner(): Rollout | undefined {
    return winningRollout(this.#components.tracker.rolloutsOf(this.#model), this.#components.membership.self)
  }

  /** Whether this node already runs what is wanted, or has tried and failed. */
  #isSettled(intent: Intent): boolean {
    const { current, target, phase } = this.#deployment.status
    const isPinnedElse = intent.variant !== undefined && intent.variant !== current?.variant
    if (current?.release === intent.release && !isPinnedElse) {
      return phase === 'degraded' || (phase === 'operational' && this.#deployment.isInService)
    }
    return target?.rollout === intent.id && (phase === 'failed' || phase === 'rolledBack')
  }

  /** A cancel stops what is under way and changes nothing that is done. */
  async #settleCancelled(intent: Intent): Promise<void> {
    const { current, target, phase } = this.#deployment.status
    const isDone = phase === 'failed' || phase === 'rolledBack' || current?.release === intent.release
    if (target?.rollout !== intent.id || isDone) return
    const before = this.#isRestored ? 'operational' : 'degraded'
    await this.#deployment.record({ phase: current === null ? 'notDeployed' : before, target: null })
  }

  async #pursue(intent: Intent, release: Release): Promise<void> {
    const { current } = this.#deployment.status
    if (
      current !== null &&
      intent.kind === 'rollout' &&
      !intent.allowDowngrade &&
      lt(intent.version, current.version)
    ) {
      const message = `${intent.version} is older than ${current.version}, which runs here: roll back, or allow the downgrade`
      return this.#report(intent, { phase: 'rolledBack', blocker: { reason: 'deploymentFailed', message } })
    }
    const { variant, rejections } = await this.#choose(intent, release)
    if (variant === undefined) {
      await this.#report(intent, { phase: 'queued', blocker: rejectionBlocker(rejections) })
      return this.#wakeLater()
    }
    const signals = { cancel: this.#cancel.signal, stop: this.#stop.signal }
    this.#after(await this.#deployment.deploy({ intent, variant }, signals))
  }

  #after(outcome: DeploymentOutcome): void {
    if (outcome === 'retry') return this.#wakeLater()
    this.#retries = 0
    const { current, phase } = this.#deployment.status
    this.#isRestored = current === null || phase !== 'failed'
    // Going back failed: nothing serves, so that is tried again.
    if (!this.#isRestored) this.#wakeLater()
  }

  /** What counts is the space that is free now, and what an interrupted transfer of the same variant already takes. */
  async #choose(intent: Intent, release: Release): Promise<VariantChoice> {
    const { membership, blobs } = this.#components
    const availableBytes = await blobs.availableBytes()
    const storageMbFor = new Map<VariantId, number>()
    for (const { id, manifest } of release.variants) {
      storageMbFor.set(id, Math.floor((availableBytes + (await blobs.heldBytes(manifest))) / bytesPerMb))
    }
    const { capabilities } = membership
    return selectVariant({ release, capabilities, storageMbFor, selector: intent.selector, pinned: intent.variant })
  }

  #report(intent: Intent, change: StatusChange): Promise<void> {
    const variant = intent.variant ?? null
    return this.#deployment.record({
      target: { rollout: intent.id, version: intent.version, variant },
      attempt: 0,
      ...change
    })
  }

  #wakeLater(): void {
    const wanted = this.#winner()?.intent.id
    if (wanted !== this.#retried) this.#retries = 0
    this.#retried = wanted
    const delayMs = Math.min(this.#init.retryMs * 2 ** this.#retries, this.#init.retryMaxMs)
    this.#retries += 1
    this.#timer?.cancel()
    this.#timer = this.#components.environment.clock.setTimer(delayMs, () => this.wake())
  }
}

/** Why the release that a rollout names cannot be had: the version was published twice, and the other one counts. */
function outvoted({ id, publisher, release }: PublishedRelease): Pick<StatusChange, 'blocker'> {
  const message = `${release.version} was published twice with different bytes; those of ${publisher} (${id}) count, not those that the rollout names`
  return { blocker: { reason: 'unknown', message } }
}

/** Says of each rejected variant why, and gives the numbers of the one that came closest. */
function rejectionBlocker(rejections: VariantChoice['rejections']): NonNullable<StatusChange['blocker']> {
  const closest = closestRejection(rejections)
  const message = rejections.map((rejection) => `${rejection.variant} ${rejection.message}`).join('; ')
  const { required, available, unit } = closest ?? {}
  return {
    reason: closest?.reason ?? 'incompatibleCapabilities',
    message: message.slice(0, 500),
    ...(required === undefined ? {} : { required }),
    ...(available === undefined ? {} : { available }),
    ...(unit === undefined ? {} : { unit })
  }
}
