import type { ModelId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import { componentLogger } from '../core/logger.js'
import type { Unsubscribe } from '../net/network.js'
import { Deployment, type DeploymentComponents, type DeploymentInit } from './deployment.js'
import { GuardedRuntime } from './guarded-runtime.js'
import { ModelWorker, type ModelWorkerComponents, type ModelWorkerInit } from './model-worker.js'
import type { RuntimeFactory } from './runtime.js'

/** Settings of the reconciler. */
export interface ReconcilerInit extends DeploymentInit, ModelWorkerInit {}

/** What the reconciler is built from. */
export interface ReconcilerComponents extends DeploymentComponents, ModelWorkerComponents {
  readonly blobs: DeploymentComponents['blobs'] & ModelWorkerComponents['blobs']
  readonly runtime: RuntimeFactory
}

/**
 * The node side of rollouts: for each model that the document speaks of, a worker makes this node what the document
 * asks for. Nobody pushes to a node; one that was away catches up by itself.
 */
export class Reconciler implements Startable {
  readonly #components: ReconcilerComponents
  readonly #init: ReconcilerInit
  readonly #workers = new Map<ModelId, ModelWorker>()
  #stops: Unsubscribe[] = []

  constructor(components: ReconcilerComponents, init: ReconcilerInit) {
    this.#components = components
    this.#init = init
  }

  /** Puts back into service what ran, and begins to follow the document. Document, blobs and membership must be started. */
  start(): void {
    const { tracker, registry, membership, self } = this.#components
    this.#stops = [
      tracker.onChange((model, change, nodes) => {
        if (change === 'rollout') this.#worker(model).wake()
        else if (nodes.includes(self)) this.#workers.get(model)?.statusChanged()
      }),
      registry.onRelease((model) => this.#workers.get(model)?.wake()),
      // What this node can do decides whether it is meant, and by which variant.
      membership.onChange((nodes) => nodes.includes(self) && this.#wakeAll())
    ]
    this.#wakeAll()
  }

  #wakeAll(): void {
    const { tracker, registry, self } = this.#components
    const models = new Set([
      ...tracker.rollouts.models(),
      ...registry.models().filter((model) => tracker.status(model, self))
    ])
    for (const model of models) this.#worker(model).wake()
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0)) stop()
    await Promise.all(Array.from(this.#workers.values(), (worker) => worker.stop()))
    this.#workers.clear()
  }

  #worker(model: ModelId): ModelWorker {
    const existing = this.#workers.get(model)
    if (existing !== undefined) return existing
    const components = { ...this.#components, logger: componentLogger(this.#components.logger, 'reconciler') }
    const runtime = new GuardedRuntime(model, components.runtime, components.environment.clock, this.#init)
    const deployment = new Deployment(model, runtime, components, this.#init)
    const worker = new ModelWorker(model, deployment, components, this.#init)
    this.#workers.set(model, worker)
    return worker
  }
}
