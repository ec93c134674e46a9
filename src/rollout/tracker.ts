import type { ModelId, NodeId } from '../core/ids.js'
import { Listeners } from '../core/listeners.js'
import type { Logger } from '../core/logger.js'
import type { Unsubscribe } from '../net/network.js'
import type { SharedDocument } from '../record/shared-document.js'
import { rolloutKind, RolloutIndex, type Rollout } from './intent.js'
import { noStatus, StatusIndex, statusKind, statusPage, type ObservedStatus, type StatusBody } from './status.js'

/** What of a model changed. */
export type TrackerChange = 'rollout' | 'status'

/** The deployment tracker: rollouts and statuses of all models, indexed from the document as it changes (features A29). */
export class DeploymentTracker {
  readonly #document: SharedDocument
  readonly #rollouts = new RolloutIndex()
  readonly #statuses = new StatusIndex()
  readonly #listeners: Listeners<[model: ModelId, change: TrackerChange]>

  constructor(document: SharedDocument, logger: Logger) {
    this.#document = document
    this.#listeners = new Listeners('the deployment tracker', logger)
    document.register(rolloutKind)
    document.register(statusKind)
    document.subscribe(rolloutKind, (entries) => this.#emit(this.#rollouts.learn(entries), 'rollout'))
    document.subscribe(statusKind, (entries) => this.#emit(this.#statuses.learn(entries), 'status'))
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
  onChange(listener: (model: ModelId, change: TrackerChange) => void): Unsubscribe {
    return this.#listeners.add(listener)
  }

  #emit(models: ReadonlySet<ModelId>, change: TrackerChange): void {
    for (const model of models) this.#listeners.tell(model, change)
  }
}
