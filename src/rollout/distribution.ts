import { check } from '../core/codec.js'
import type { Environment } from '../core/environment.js'
import { MurmurateError } from '../core/errors.js'
import {
  parseModelId,
  parseRolloutId,
  parseVariantId,
  parseVersion,
  rolloutIdFrom,
  type Cid,
  type ModelId,
  type NodeId,
  type RolloutId,
  type VariantId,
  type Version
} from '../core/ids.js'
import type { Membership } from '../fleet/membership.js'
import type { Pulses } from '../fleet/pulse.js'
import type { ModelRegistry } from '../models/registry.js'
import { all, scopeSchema, type DistributionScope } from '../models/scope.js'
import type { VariantSelector } from '../models/variant.js'
import type { SharedDocument } from '../record/shared-document.js'
import type { ModelConvergenceStatus, Verdict } from './convergence.js'
import { watchConvergence, type WatchOptions } from './convergence-watch.js'
import { precedes, rolloutKind, rolloutPage, type Intent, type Rollout, type TransferPriority } from './intent.js'
import { nodeModelStatus, type NodeModelStatus } from './node-model-status.js'
import type { DeploymentTracker } from './tracker.js'
import { Verdicts } from './verdicts.js'

/** Names a rollout that was ordered; it can be read on any node (features A1, A41). */
export interface ModelDistributionHandle {
  readonly modelId: ModelId
  readonly version: Version
  /** Only where one variant was pinned; else each node chooses its own. */
  readonly variantId?: VariantId
  readonly distributionHandle: {
    readonly distributionId: RolloutId
    /** The release by content. */
    readonly release: Cid
    readonly scope: DistributionScope
    readonly priority: TransferPriority
    /** ms since 1970 on the issuer's clock. */
    readonly startedAt: number
  }
  /** ms since 1970 on the issuer's clock. */
  readonly initiatedAt: number
}

/** Options of ordering a rollout. */
export interface DistributeOptions {
  /** Narrows each node's choice of a variant. */
  readonly selector?: VariantSelector
  /** Lets nodes that run a newer version go back to this one. @default false */
  readonly allowDowngrade?: boolean
}

/** What the operator's API is built from. */
export interface DistributionComponents {
  readonly self: NodeId
  readonly document: SharedDocument
  readonly tracker: DeploymentTracker
  readonly registry: ModelRegistry
  readonly membership: Membership
  readonly pulses: Pulses
  readonly environment: Environment
}

/** Settings of the operator's API. */
export interface DistributionInit {
  /** A node unreachable for longer than this is blocked by its network, ms. */
  readonly offlineAfterMs: number
  /** A subscription hands out at most one verdict in this time, ms. */
  readonly coalesceMs: number
}

type IntentDraft = Pick<Intent, 'kind' | 'allowDowngrade'> & Partial<Pick<Intent, 'variant' | 'selector' | 'base'>>

/**
 * The operator's side of rollouts, on any node: order a version onto a scope, and see who runs it and what blocks the
 * rest. Ordering writes one signed entry; everything else is read from the shared document.
 */
export class Distribution {
  readonly #components: DistributionComponents
  readonly #init: DistributionInit
  readonly #verdicts: Verdicts

  constructor(components: DistributionComponents, init: DistributionInit) {
    this.#components = components
    this.#init = init
    this.#verdicts = new Verdicts({ ...components, clock: components.environment.clock }, init)
  }

  /**
   * Orders a version onto the nodes of a scope; each chooses the variant that fits it. Delivers only chunks that a node
   * does not hold already.
   *
   * @throws MurmurateError `MODEL_NOT_FOUND`, `INVALID_REQUEST`, `NOT_PERMITTED` when this node is no operator
   */
  distributeModel(
    modelId: string,
    version: string,
    scope: DistributionScope = all(),
    priority: TransferPriority = 'normal',
    options: DistributeOptions = {}
  ): Promise<ModelDistributionHandle> {
    const selector = options.selector === undefined ? {} : { selector: copySelector(options.selector) }
    return this.#order(modelId, version, scope, priority, {
      kind: 'rollout',
      allowDowngrade: options.allowDowngrade === true,
      ...selector
    })
  }

  /** Orders one variant; nodes that it does not fit are blocked and say why. */
  async distributeModelVariant(
    modelId: string,
    version: string,
    variantId: string,
    scope: DistributionScope = all(),
    priority: TransferPriority = 'normal'
  ): Promise<ModelDistributionHandle> {
    const variant = parseVariantId(variantId)
    const { release } = this.#components.registry.offered(parseModelId(modelId), parseVersion(version))
    if (!release.variants.some(({ id }) => id === variant)) {
      const known = release.variants.map(({ id }) => id).join(', ')
      throw new MurmurateError('MODEL_NOT_FOUND', `${modelId} ${version} has no variant ${variant}; it has ${known}`)
    }
    return this.#order(modelId, version, scope, priority, { kind: 'rollout', allowDowngrade: false, variant })
  }

  /** Orders a version that most nodes of the scope can build from another that they run; those without it fetch all of it. */
  async distributeModelDelta(
    modelId: string,
    fromVersion: string,
    toVersion: string,
    scope: DistributionScope = all(),
    priority: TransferPriority = 'normal'
  ): Promise<ModelDistributionHandle> {
    const base = this.#components.registry.require(parseModelId(modelId), parseVersion(fromVersion)).release.version
    return this.#order(modelId, toVersion, scope, priority, { kind: 'rollout', allowDowngrade: false, base })
  }

  /**
   * Orders an earlier version onto the nodes of the scope, whatever they run; where it is still on disk nothing is fetched.
   *
   * @throws MurmurateError `MODEL_NOT_FOUND`, `INVALID_REQUEST`
   */
  rollback(
    modelId: string,
    toVersion: string,
    scope: DistributionScope = all(),
    priority: TransferPriority = 'high'
  ): Promise<ModelDistributionHandle> {
    return this.#order(modelId, toVersion, scope, priority, { kind: 'rollback', allowDowngrade: true })
  }

  /** Stops a rollout: nodes that have not switched stay as they are, nodes that have are not turned back. Final. */
  async cancel(handle: ModelDistributionHandle): Promise<void> {
    const { document, tracker, environment, self } = this.#components
    const { intent } = this.#rollout(handle.distributionHandle?.distributionId)
    const page = rolloutPage(intent.id)
    const own = document.entry(rolloutKind, page, self)?.body
    const { lamport } = tracker.rollouts.next(intent.model)
    const control = { action: 'cancel', lamport, issuedAt: wallClockMs(environment) } as const
    await document.write(rolloutKind, page, { ...own, control })
  }

  /** The rollouts of a model as handles, the one that counts most first. */
  rollouts(modelId: string): ModelDistributionHandle[] {
    const rollouts = this.#components.tracker.rolloutsOf(parseModelId(modelId))
    const intents = rollouts.map(({ intent }) => intent)
    return intents.sort((a, b) => (precedes(a, b) ? -1 : 1)).map(handleOf)
  }

  /**
   * The verdict over a model version, computed here and now from this node's copy of the document.
   *
   * @throws MurmurateError `MODEL_NOT_FOUND` when no rollout of this version is known here
   */
  convergenceStatus(modelId: string, targetVersion: string): ModelConvergenceStatus {
    const model = parseModelId(modelId)
    const version = parseVersion(targetVersion)
    return this.#verdicts.stamped(this.#verdicts.read(model, version) ?? unknownRollout(model, version))
  }

  /**
   * The verdict now, then after each change, coalesced. Ends when the rollout is complete, unless `follow`.
   *
   * @throws MurmurateError `MODEL_NOT_FOUND` unless `wait`, `ABORTED`, `NOT_STARTED` when the node is stopped meanwhile
   */
  async *subscribeConvergence(
    modelId: string,
    targetVersion: string,
    options: WatchOptions = {}
  ): AsyncGenerator<ModelConvergenceStatus> {
    const { tracker, membership, pulses, environment } = this.#components
    const [model, version] = [parseModelId(modelId), parseVersion(targetVersion)]
    const verdicts = {
      read: () =>
        this.#verdicts.read(model, version) ?? (options.wait === true ? undefined : unknownRollout(model, version)),
      stamped: (verdict: Verdict) => this.#verdicts.stamped(verdict),
      untilNextDue: () => this.#verdicts.untilNextDue(model, version)
    }
    const { coalesceMs } = this.#init
    yield* watchConvergence({ verdicts, tracker, membership, pulses, clock: environment.clock, coalesceMs }, options)
  }

  /**
   * What a node last said of a model; undefined when nothing.
   *
   * @param nodeIdOrPrefix - a full id, an unambiguous prefix of one, or a member's name
   * @throws MurmurateError `NODE_NOT_FOUND`
   */
  nodeModelStatus(modelId: string, nodeIdOrPrefix: string): NodeModelStatus | undefined {
    const model = parseModelId(modelId)
    const observed = this.#components.tracker.status(model, this.#components.membership.resolve(nodeIdOrPrefix))
    return observed === undefined ? undefined : nodeModelStatus(model, observed)
  }

  /** The nodes that run a version, sorted by id. */
  nodesWithVersion(modelId: string, versionText: string): NodeModelStatus[] {
    const model = parseModelId(modelId)
    const version = parseVersion(versionText)
    return [...this.#components.tracker.statusesOf(model).values()]
      .filter(({ body }) => body.current?.version === version)
      .map((observed) => nodeModelStatus(model, observed))
      .sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
  }

  /**
   * Reads the handle of a rollout that any node ordered, by its id.
   *
   * @throws MurmurateError `MODEL_NOT_FOUND`, `INVALID_REQUEST`
   */
  handle(id: string): ModelDistributionHandle {
    return handleOf(this.#rollout(id).intent)
  }

  async #order(
    modelId: string,
    versionText: string,
    scope: DistributionScope,
    priority: TransferPriority,
    draft: IntentDraft
  ): Promise<ModelDistributionHandle> {
    const { registry, tracker, environment, document } = this.#components
    const model = parseModelId(modelId)
    const version = parseVersion(versionText)
    const { id: release } = registry.offered(model, version)
    const id = rolloutIdFrom(environment.random.bytes(16))
    const checkedScope = check(scope, scopeSchema, 'scope')
    const order = { ...tracker.rollouts.next(model), issuedAt: wallClockMs(environment) }
    const body = { intent: { id, model, version, release, scope: checkedScope, priority, ...draft, ...order } }
    const { intent } = check(body, rolloutKind.schema, 'rollout')
    if (intent === undefined) throw new MurmurateError('INTERNAL', 'The rollout lost its intent')
    await document.write(rolloutKind, rolloutPage(id), { intent })
    return handleOf(intent)
  }

  #rollout(text: unknown): Rollout {
    const id = parseRolloutId(text)
    const rollout = this.#components.tracker.rollouts.get(id)
    if (rollout === undefined) throw new MurmurateError('MODEL_NOT_FOUND', `No rollout ${id} is known here`)
    return rollout
  }
}

function unknownRollout(model: ModelId, version: Version): never {
  throw new MurmurateError('MODEL_NOT_FOUND', `No rollout of ${model} ${version} is known here`, {
    details: { model, version }
  })
}

/** As entries hold it: whole milliseconds. */
function wallClockMs({ clock }: Environment): number {
  return Math.max(0, Math.floor(clock.now()))
}

function copySelector({ requiredProviders, ...selector }: VariantSelector): NonNullable<Intent['selector']> {
  return { ...selector, ...(requiredProviders === undefined ? {} : { requiredProviders: [...requiredProviders] }) }
}

function handleOf(intent: Intent): ModelDistributionHandle {
  const { id, model, version, variant, release, scope, priority, issuedAt } = intent
  return {
    modelId: model,
    version,
    ...(variant === undefined ? {} : { variantId: variant }),
    distributionHandle: { distributionId: id, release, scope, priority, startedAt: issuedAt },
    initiatedAt: issuedAt
  }
}
