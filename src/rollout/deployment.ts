import { encode, equalBytes } from '../core/codec.js'
import type { Environment } from '../core/environment.js'
import { sleep } from '../core/environment.js'
import { errorCode, messageOf, MurmurateError } from '../core/errors.js'
import type { Logger } from '../core/logger.js'
import type { Cid, ModelId, NodeId, VariantId, Version } from '../core/ids.js'
import type { Artifact, Blobs, TransferProgress, TransferReport } from '../blobs/blobs.js'
import type { Pulses } from '../fleet/pulse.js'
import type { ModelRegistry } from '../models/registry.js'
import type { Variant } from '../models/release.js'
import type { GuardedRuntime, RuntimeTimeouts } from './guarded-runtime.js'
import type { Intent } from './intent.js'
import { advance, type StatusBody, type StatusChange, type TransferSummary } from './status.js'
import type { DeploymentTracker } from './tracker.js'
import type { TransferSlots } from './transfer-slots.js'

/** Settings of deployments. */
export interface DeploymentInit extends RuntimeTimeouts {
  /** The check must keep passing for this long before a version counts as operational, ms. */
  readonly soakMs: number
  /** Time between two checks during the soak, ms. */
  readonly soakCheckPeriodMs: number
  /** How many versions of a model stay on disk, the running one among them; at least that one. */
  readonly keepVersions: number
}

/** What a deployment is built from. */
export interface DeploymentComponents {
  readonly self: NodeId
  readonly tracker: DeploymentTracker
  readonly registry: ModelRegistry
  readonly blobs: Pick<Blobs, 'fetch' | 'local' | 'remove'>
  readonly pulses: Pulses
  readonly slots: TransferSlots
  readonly environment: Environment
  readonly logger: Logger
}

/** How a deployment ended: it runs; it never will, with this rollout; or try again. */
export type DeploymentOutcome = 'operational' | 'failed' | 'retry'

/** A version being brought to this node. */
export interface DeploymentTarget {
  readonly intent: Intent
  readonly variant: Variant
}

/** The steps by which one model on this node goes from one version to the next, or back. */
export class Deployment {
  readonly #model: ModelId
  readonly #runtime: GuardedRuntime
  readonly #components: DeploymentComponents
  readonly #init: DeploymentInit
  #recorded: Promise<void> = Promise.resolve()
  /** The release that this process loaded last. */
  #loaded: Cid | undefined

  constructor(model: ModelId, runtime: GuardedRuntime, components: DeploymentComponents, init: DeploymentInit) {
    this.#model = model
    this.#runtime = runtime
    this.#components = components
    this.#init = init
  }

  /** This node's status of the model. */
  get status(): StatusBody {
    return this.#components.tracker.ownStatus(this.#model, this.#components.self)
  }

  /**
   * Whether this process has loaded what the status calls current. It has not when the status came back from the mesh, to a node
   * that lost its disk.
   */
  get isInService(): boolean {
    const { current } = this.status
    return current === null || current.release === this.#loaded
  }

  /** Writes a step, unless nothing changes by it; one after the other, so that each begins where the last one ended. */
  record(change: StatusChange): Promise<void> {
    const result = this.#recorded.then(() => this.#write(change))
    this.#recorded = result.catch(() => {})
    return result
  }

  async #write(change: StatusChange): Promise<void> {
    const { tracker, self, environment } = this.#components
    const next = advance(this.status, change, environment.clock.now())
    if (!equalBytes(encode(next), encode(this.status))) await tracker.writeStatus(this.#model, self, next)
  }

  /** After a start of the node: puts the version that ran back into service. Returns whether what should run does. */
  async restore(signal: AbortSignal): Promise<boolean> {
    const { current, phase, target } = this.status
    if (current === null) return true
    const hasGivenUp = phase === 'failed' || phase === 'rolledBack'
    try {
      await this.#loadCurrent(signal)
    } catch (error) {
      signal.throwIfAborted()
      const message = `${current.version} does not run any more: ${messageOf(error)}`
      if (errorCode(error) === 'BLOB_NOT_FOUND') {
        // Nothing runs here; what should run is fetched as on any node that does not have it.
        await this.record({
          phase: hasGivenUp ? 'failed' : 'queued',
          current: null,
          blocker: { reason: 'unknown', message }
        })
        return true
      }
      // What failed stays failed: a rollout that was tried here in vain is not tried again because of this.
      await this.record({ phase: hasGivenUp ? 'failed' : 'degraded', blocker: { reason: 'deploymentFailed', message } })
      return false
    }
    if (phase === 'failed') await this.record({ phase: 'rolledBack', ...this.#blocker() })
    if (phase === 'degraded' || phase === 'operational' || target === null) await this.record({ phase: 'operational' })
    return true
  }

  /** Fetches, loads and checks a version; restores the one before when it fails. */
  async deploy(
    target: DeploymentTarget,
    signals: { readonly cancel: AbortSignal; readonly stop: AbortSignal }
  ): Promise<DeploymentOutcome> {
    signals.cancel.throwIfAborted()
    const artifact = (await this.#staged(target)) ?? (await this.#transfer(target, signals.cancel))
    if (artifact === undefined) return 'retry'
    if (!(await this.#runtime.ready(signals.cancel))) {
      const message = 'The application does not take a new version now'
      await this.record({ phase: 'staged', blocker: { reason: 'nodeBusy', message } })
      return 'retry'
    }
    signals.cancel.throwIfAborted()
    // From here on only a stop interrupts: a switch is either finished or taken back.
    return this.#switch(target, artifact, signals.stop)
  }

  /** The files of a version that an earlier attempt at the same rollout has fetched. */
  async #staged({ intent, variant }: DeploymentTarget): Promise<Artifact | undefined> {
    const { phase, target } = this.status
    const isStaged = phase === 'staged' && target?.rollout === intent.id && target.variant === variant.id
    return isStaged ? this.#components.blobs.local(variant.manifest) : undefined
  }

  async #transfer({ intent, variant }: DeploymentTarget, signal: AbortSignal): Promise<Artifact | undefined> {
    const { blobs, slots } = this.#components
    const target = { rollout: intent.id, version: intent.version, variant: variant.id }
    const before = this.status
    const isSame = before.target?.rollout === intent.id
    // What blocked the attempt before stays on show, with its `since`, until bytes move.
    const step = { target, attempt: isSame ? before.attempt + 1 : 1, ...(isSame ? this.#blocker() : {}) }
    if (!isSame || before.phase !== 'queued') await this.record({ phase: 'queued', ...step })
    try {
      const { artifact, report } = await slots.run(intent.priority, signal, async () => {
        await this.record({ phase: 'downloading', ...step })
        return blobs.fetch(variant.manifest, { signal, onProgress: (progress) => this.#onProgress(intent, progress) })
      })
      await this.record({ phase: 'staged', transfer: summarise(report) })
      return artifact
    } catch (error) {
      signal.throwIfAborted()
      await this.record({ phase: 'queued', blocker: transferBlocker(error) })
      return undefined
    }
  }

  /** The present blocker, for a step that does not remove it. */
  #blocker(): Pick<StatusChange, 'blocker'> {
    const { blocker } = this.status
    return blocker === undefined ? {} : { blocker }
  }

  #onProgress(intent: Intent, progress: TransferProgress): void {
    const { haveBytes, totalBytes, receivedBytes, reusedBytes, stalledBecause } = progress
    this.#components.pulses.report({ subject: `${intent.model}@${intent.version}`, haveBytes, totalBytes })
    const isBlocked = stalledBecause !== undefined
    const isFreed = this.status.blocker !== undefined && receivedBytes + reusedBytes > 0
    if (!isBlocked && !isFreed) return
    const blocker = isBlocked ? { blocker: { reason: 'transferFailed', message: stalledBecause } as const } : {}
    // A lost write of this hint does no harm: the next one, or the end of the transfer, says the same.
    this.record({ phase: 'downloading', ...blocker }).catch(() => {})
  }

  async #switch(
    { intent, variant }: DeploymentTarget,
    artifact: Artifact,
    stop: AbortSignal
  ): Promise<DeploymentOutcome> {
    try {
      await this.record({ phase: 'loading' })
      await this.#load(intent.version, variant.id, artifact, stop)
      this.#loaded = intent.release
      await this.record({ phase: 'verifying' })
      await this.#soak(stop)
      const current = { version: intent.version, variant: variant.id, release: intent.release }
      await this.record({ phase: 'operational', current })
    } catch (error) {
      stop.throwIfAborted()
      await this.#goBack(intent, messageOf(error), stop)
      return 'failed'
    }
    await this.#retain()
    return 'operational'
  }

  /** The new version failed: the one before serves again, or nothing does. */
  async #goBack(intent: Intent, reason: string, stop: AbortSignal): Promise<void> {
    const { current } = this.status
    const blocker = { reason: 'deploymentFailed', message: `${intent.version}: ${reason}` } as const
    if (current === null) {
      await this.#runtime.unload(stop).catch((error: unknown) => this.#warn('unloading', error))
      await this.record({ phase: 'failed', blocker })
      return
    }
    try {
      await this.#loadCurrent(stop)
      await this.record({ phase: 'rolledBack', blocker })
    } catch (error) {
      stop.throwIfAborted()
      const message = `going back to ${current.version} failed: ${messageOf(error)}, after ${blocker.message}`
      await this.record({ phase: 'failed', blocker: { ...blocker, message } })
    }
  }

  /** Brings the version that ran last back into service and sees that it works. */
  async #loadCurrent(signal: AbortSignal): Promise<void> {
    const { current } = this.status
    if (current === null) return
    const { release } = this.#components.registry.require(this.#model, current.version)
    const variant = release.variants.find(({ id }) => id === current.variant)
    const artifact = variant === undefined ? undefined : await this.#components.blobs.local(variant.manifest)
    if (artifact === undefined) {
      throw new MurmurateError(
        'BLOB_NOT_FOUND',
        `The files of ${this.#model} ${current.version} are gone from this disk`
      )
    }
    await this.#load(current.version, current.variant, artifact, signal)
    this.#loaded = current.release
    await this.#runtime.check(signal)
  }

  #load(version: Version, variant: VariantId, artifact: Artifact, stop: AbortSignal): Promise<void> {
    const files = artifact.files.map(({ name, size, path }) => ({ name, sizeBytes: size, path }))
    return this.#runtime.load({ model: this.#model, version, variant, files }, stop)
  }

  /** Checks once, and again and again until the soak time is over. */
  async #soak(stop: AbortSignal): Promise<void> {
    const { clock } = this.#components.environment
    const end = clock.monotonic() + this.#init.soakMs
    await this.#runtime.check(stop)
    for (let left = this.#init.soakMs; left > 0; left = end - clock.monotonic()) {
      await sleep(clock, Math.min(left, this.#init.soakCheckPeriodMs), stop)
      await this.#runtime.check(stop)
    }
  }

  /** Frees versions that are neither running, nor kept for going back, nor published from here. */
  async #retain(): Promise<void> {
    const { registry, blobs, self } = this.#components
    const recent = this.status.ran.slice(0, Math.max(1, this.#init.keepVersions))
    const kept = new Set<Cid>()
    const spare = new Set<Cid>()
    for (const version of registry.versions(this.#model)) {
      const { release, publishers } = registry.require(this.#model, version)
      const group = publishers.includes(self) || recent.includes(version) ? kept : spare
      for (const { manifest } of release.variants) group.add(manifest)
    }
    for (const manifest of spare) {
      if (kept.has(manifest)) continue
      // The version runs all the same; the next rollout tries again.
      await blobs.remove(manifest).catch((error: unknown) => this.#warn(`removing ${manifest}`, error))
    }
  }

  #warn(what: string, error: unknown): void {
    this.#components.logger.warn(`${this.#model}: ${what} failed: ${messageOf(error)}`)
  }
}

function summarise({ plan, receivedBytes, reusedBytes, seconds, fromPeers }: TransferReport): TransferSummary {
  const sources = [...fromPeers].sort(([, a], [, b]) => b - a).slice(0, 8)
  return { totalBytes: plan.totalBytes, receivedBytes, reusedBytes, resumedBytes: plan.heldBytes, seconds, sources }
}

function transferBlocker(error: unknown): NonNullable<StatusChange['blocker']> {
  const message = messageOf(error).slice(0, 500)
  if (errorCode(error) !== 'INSUFFICIENT_STORAGE' || !(error instanceof MurmurateError))
    return { reason: 'transferFailed', message }
  const { requiredBytes, availableBytes } = error.details
  const numbers =
    typeof requiredBytes === 'number' && typeof availableBytes === 'number'
      ? { required: requiredBytes, available: availableBytes, unit: 'bytes' as const }
      : {}
  return { reason: 'insufficientStorage', message, ...numbers }
}
