import { withDeadline } from '../core/abort.js'
import type { Environment } from '../core/environment.js'
import { sleep } from '../core/environment.js'
import { errorCode, messageOf, MurmurateError } from '../core/errors.js'
import type { Cid, ModelId, NodeId } from '../core/ids.js'
import type { Artifact, Blobs, TransferProgress, TransferReport } from '../blobs/blobs.js'
import type { Pulses } from '../fleet/pulse.js'
import type { ModelRegistry } from '../models/registry.js'
import type { Variant } from '../models/release.js'
import type { Intent } from './intent.js'
import type { Runtime } from './runtime.js'
import { advance, type StatusBody, type StatusChange, type TransferSummary } from './status.js'
import type { DeploymentTracker } from './tracker.js'
import type { TransferSlots } from './transfer-slots.js'

/** Settings of deployments. */
export interface DeploymentInit {
  /** A runtime's `load` or `unload` may take this long, ms. */
  readonly loadTimeoutMs: number
  /** A runtime's `check` may take this long, ms. */
  readonly checkTimeoutMs: number
  /** The check must keep passing for this long before a version counts as operational, ms. */
  readonly soakMs: number
  /** Time between two checks during the soak, ms. */
  readonly soakCheckPeriodMs: number
  /** How many versions of a model stay on disk, the running one among them. */
  readonly keepVersions: number
}

/** What a deployment is built from. */
export interface DeploymentComponents {
  readonly self: NodeId
  readonly tracker: DeploymentTracker
  readonly registry: ModelRegistry
  readonly blobs: Blobs
  readonly pulses: Pulses
  readonly slots: TransferSlots
  readonly environment: Environment
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
  readonly #runtime: Runtime
  readonly #components: DeploymentComponents
  readonly #init: DeploymentInit

  constructor(model: ModelId, runtime: Runtime, components: DeploymentComponents, init: DeploymentInit) {
    this.#model = model
    this.#runtime = runtime
    this.#components = components
    this.#init = init
  }

  /** This node's status of the model. */
  get status(): StatusBody {
    return this.#components.tracker.ownStatus(this.#model, this.#components.self)
  }

  /** Writes a step, unless nothing changes by it. */
  async record(change: StatusChange): Promise<void> {
    const { tracker, self, environment } = this.#components
    const next = advance(this.status, change, environment.clock.now())
    if (JSON.stringify(next) !== JSON.stringify(this.status)) await tracker.writeStatus(this.#model, self, next)
  }

  /** After a start of the node: puts the version that ran back into service. */
  async restore(signal: AbortSignal): Promise<void> {
    const { current } = this.status
    if (current === null) return
    try {
      await this.#loadCurrent(signal)
      await this.#check(signal)
      if (this.status.target === null || this.status.phase === 'degraded') await this.record({ phase: 'operational' })
    } catch (error) {
      signal.throwIfAborted()
      const message = `${current.version} does not run any more: ${messageOf(error)}`
      await this.record({ phase: 'degraded', blocker: { reason: 'deploymentFailed', message } })
    }
  }

  /** Fetches, loads and checks a version; restores the one before when it fails. */
  async deploy(
    target: DeploymentTarget,
    signals: { readonly cancel: AbortSignal; readonly stop: AbortSignal }
  ): Promise<DeploymentOutcome> {
    const artifact = await this.#transfer(target, signals.cancel)
    if (artifact === undefined) return 'retry'
    if (!(await this.#isReady(signals.cancel))) {
      const message = 'The application does not take a new version now'
      await this.record({ phase: 'staged', blocker: { reason: 'nodeBusy', message } })
      return 'retry'
    }
    signals.cancel.throwIfAborted()
    // From here on only a stop interrupts: a switch is either finished or taken back.
    return this.#switch(target, artifact, signals.stop)
  }

  async #transfer({ intent, variant }: DeploymentTarget, signal: AbortSignal): Promise<Artifact | undefined> {
    const { blobs, slots } = this.#components
    const target = { rollout: intent.id, version: intent.version, variant: variant.id }
    const isNew = this.status.target?.rollout !== intent.id
    const attempt = isNew ? 1 : this.status.attempt + 1
    await this.record({ phase: 'queued', target, attempt })
    try {
      const { artifact, report } = await slots.run(intent.priority, signal, async () => {
        await this.record({ phase: 'downloading' })
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

  #onProgress(intent: Intent, progress: TransferProgress): void {
    const { haveBytes, totalBytes, stalledBecause } = progress
    this.#components.pulses.report({ subject: `${intent.model}@${intent.version}`, haveBytes, totalBytes })
    const isShown = this.status.blocker !== undefined
    if (stalledBecause === undefined && !isShown) return
    const blocker =
      stalledBecause === undefined ? {} : { blocker: { reason: 'transferFailed', message: stalledBecause } as const }
    // A lost write of this hint does no harm: the next one, or the end of the transfer, says the same.
    this.record({ phase: 'downloading', ...blocker }).catch(() => {})
  }

  async #isReady(signal: AbortSignal): Promise<boolean> {
    if (this.#runtime.ready === undefined) return true
    const ready = this.#runtime.ready.bind(this.#runtime)
    return this.#within(this.#init.checkTimeoutMs, signal, 'ready()', (inner) => ready({ signal: inner }))
  }

  async #switch(
    { intent, variant }: DeploymentTarget,
    artifact: Artifact,
    stop: AbortSignal
  ): Promise<DeploymentOutcome> {
    try {
      await this.record({ phase: 'loading' })
      await this.#load(intent.version, variant.id, artifact, stop)
      await this.record({ phase: 'verifying' })
      await this.#soak(stop)
      const current = { version: intent.version, variant: variant.id, release: intent.release }
      await this.record({ phase: 'operational', current })
      await this.#retain()
      return 'operational'
    } catch (error) {
      stop.throwIfAborted()
      await this.#goBack(intent, messageOf(error), stop)
      return 'failed'
    }
  }

  /** The new version failed: the one before serves again, or nothing does. */
  async #goBack(intent: Intent, reason: string, stop: AbortSignal): Promise<void> {
    const { current } = this.status
    const blocker = { reason: 'deploymentFailed', message: `${intent.version}: ${reason}`.slice(0, 500) } as const
    if (current === null) {
      await this.#within(this.#init.loadTimeoutMs, stop, 'unload()', (signal) =>
        this.#runtime.unload({ signal })
      ).catch(() => {})
      await this.record({ phase: 'failed', blocker })
      return
    }
    try {
      await this.#loadCurrent(stop)
      await this.#check(stop)
      await this.record({ phase: 'rolledBack', blocker })
    } catch (error) {
      stop.throwIfAborted()
      const message = `${blocker.message}; going back to ${current.version} failed too: ${messageOf(error)}`.slice(
        0,
        500
      )
      await this.record({ phase: 'failed', blocker: { ...blocker, message } })
    }
  }

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
  }

  async #load(
    version: NonNullable<StatusBody['current']>['version'],
    variant: Variant['id'],
    artifact: Artifact,
    stop: AbortSignal
  ): Promise<void> {
    const files = artifact.files.map(({ name, size, path }) => ({ name, sizeBytes: size, path }))
    await this.#within(this.#init.loadTimeoutMs, stop, 'load()', (signal) =>
      this.#runtime.load({ model: this.#model, version, variant, files }, { signal })
    )
  }

  async #check(stop: AbortSignal): Promise<void> {
    await this.#within(this.#init.checkTimeoutMs, stop, 'check()', (signal) => this.#runtime.check({ signal }))
  }

  /** Checks once, and again and again until the soak time is over. */
  async #soak(stop: AbortSignal): Promise<void> {
    const { clock } = this.#components.environment
    const end = clock.monotonic() + this.#init.soakMs
    await this.#check(stop)
    for (let left = this.#init.soakMs; left > 0; left = end - clock.monotonic()) {
      await sleep(clock, Math.min(left, this.#init.soakCheckPeriodMs), stop)
      await this.#check(stop)
    }
  }

  #within<T>(
    timeoutMs: number,
    signal: AbortSignal,
    step: string,
    task: (signal: AbortSignal) => Promise<T>
  ): Promise<T> {
    const what = `The runtime's ${step} for ${this.#model}`
    return withDeadline(this.#components.environment.clock, timeoutMs, task, { signal, what })
  }

  /** Frees versions that are neither running, nor kept for going back, nor published from here. */
  async #retain(): Promise<void> {
    const { registry, blobs, self } = this.#components
    const recent = recentVersions(this.status).slice(0, this.#init.keepVersions)
    const kept = new Set<Cid>()
    const spare = new Set<Cid>()
    for (const version of registry.versions(this.#model)) {
      const { release, publisher } = registry.require(this.#model, version)
      const group = publisher === self || recent.includes(version) ? kept : spare
      for (const { manifest } of release.variants) group.add(manifest)
    }
    for (const manifest of spare) if (!kept.has(manifest)) await blobs.remove(manifest)
  }
}

/** The versions that ran here, the present one first. */
function recentVersions({ current, history }: StatusBody): string[] {
  const ran = history.filter(({ phase }) => phase === 'operational').map(({ version }) => version)
  return [...new Set([current?.version, ...ran.toReversed()])].flatMap((version) => version ?? [])
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
