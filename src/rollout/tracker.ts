import type { ModelId, NodeId } from '../core/ids.js'
import { Listeners } from '../core/listeners.js'
import type { Logger } from '../core/logger.js'
import type { Unsubscribe } from '../net/network.js'
import type { SharedDocument } from '../record/shared-document.js'
import { rolloutKind, RolloutIndex, type Rollout } from './intent.js'
import {
  noStatus,
  StatusIndex,
  statusKind,
  statusPage,
  type NodesByModel,
  type ObservedStatus,
  type StatusBody
} from './status.js'

/** What of a model changed. */
export type TrackerChange = 'rollout' | 'status'

/** Hears of a model whose rollouts or statuses changed or went; of statuses, with the nodes that they are of. */
export type TrackerListener = (model: ModelId, change: TrackerChange, nodes: readonly NodeId[]) => void

/** What the tracker needs of the shared document. */
export type TrackedDocument = Pick<SharedDocument, 'register' | 'subscribe' | 'write' | 'digest'>

/** The deployment tracker: rollouts and statuses of all models, indexed from the document as it changes (features A29). */
export class DeploymentTracker {
  readonly #document: TrackedDocument
  readonly #rollouts = new RolloutIndex()
  readonly #statuses = new StatusIndex()
  readonly #listeners: Listeners<Parameters<TrackerListener>>

  constructor(document: TrackedDocument, logger: Logger) {
    this.#document = document
    this.#listeners = new Listeners('the deployment tracker', logger)
    document.register(rolloutKind)
    document.register(statusKind)
    document.subscribe(rolloutKind, (entries, removed) => {
      this.#emitRollouts(new Set([...this.#rollouts.forget(removed), ...this.#rollouts.learn(entries)]))
    })
    document.subscribe(statusKind, (entries, removed) => {
      for (const changed of [this.#statuses.forget(removed), this.#statuses.learn(entries)]) this.#emitStatuses(changed)
    })
  }

  /** The rollouts of a model and of all. */
  get rollouts(): RolloutIndex {
    return this.#rollouts
  }

  /** The rollouts of a model. */
  rolloutsOf(model: ModelId): Rollout[] {
    return this.#rollouts.of(model)
  }

  /** The statuses of a model, by node. */
  statusesOf(model: ModelId): ReadonlyMap<NodeId, ObservedStatus> {
    return this.#statuses.of(model)
  }

  /** What a node said of a model last. */
  status(model: ModelId, nodeId: NodeId): ObservedStatus | undefined {
    return this.#statuses.get(model, nodeId)
  }

  /** What this node said of a model last; the empty status when nothing. */
  ownStatus(model: ModelId, self: NodeId): StatusBody {
    return this.#statuses.get(model, self)?.body ?? noStatus
  }

  /** Writes what this node says of a model; resolves when it is on this node's disk. */
  writeStatus(model: ModelId, self: NodeId, body: StatusBody): Promise<void> {
    return this.#document.write(statusKind, statusPage(model, self), body)
  }

  /** Equal on two nodes exactly when they hold the same document. */
  digest(): string {
    return this.#document.digest()
  }

  /** Hears of models whose rollouts or statuses changed. */
  onChange(listener: TrackerListener): Unsubscribe {
    return this.#listeners.add(listener)
  }

  #emitRollouts(models: ReadonlySet<ModelId>): void {
    for (const model of models) this.#listeners.tell(model, 'rollout', [])
  }

  #emitStatuses(changed: NodesByModel): void {
    for (const [model, nodes] of changed) this.#listeners.tell(model, 'status', nodes)
  }
}
