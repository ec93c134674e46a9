import { systemEnvironment } from '../../core/environment.js'
import type { ModelConvergenceStatus, NodeId, NodeModelStatus } from '../../index.js'
import { cast, minGpuGb, model } from './cast.js'
import type { DemoFleet } from './fleet.js'
import type { DemoEvent } from './messages.js'
import { hasSettled, statusText, transferText } from './rollout-view.js'

/** What is shown and reported of one rollout. */
export interface RolloutResult {
  readonly version: string
  readonly status: ModelConvergenceStatus
  readonly nodes: readonly NodeModelStatus[]
  readonly seconds: number
}

/** Shows one node's line: `text` replaces the last; `settled` ends it. */
export type LineListener = (text: string, settled: boolean) => void

/** One rollout as the observer sees it: a line of text for each node, and in the end the result. */
export class RolloutRun {
  readonly #fleet: DemoFleet
  readonly #version: string
  readonly #listeners = new Map<string, LineListener>()

  constructor(fleet: DemoFleet, version: string) {
    this.#fleet = fleet
    this.#version = version
  }

  /** The machines that the rollout is meant for. */
  get names(): string[] {
    return cast
      .filter(({ capabilities }) => (capabilities.gpus?.[0]?.memoryMb ?? 0) >= minGpuGb * 1024)
      .map(({ name }) => name)
  }

  /** Follows a node's line until it has settled. */
  follow(name: string, listener: LineListener): void {
    this.#listeners.set(name, listener)
  }

  /** Orders the version and watches it until it is complete. */
  async run(from?: string): Promise<RolloutResult> {
    const { clock } = systemEnvironment
    const begin = clock.monotonic()
    const { publisher, observer } = this.#fleet
    const stopListening = observer.onEvent((event) => this.#show(event))
    try {
      const scope = { kind: 'capable' as const, minGpuGb }
      await publisher.call('distribute', {
        model,
        version: this.#version,
        scope,
        ...(from === undefined ? {} : { from })
      })
      const status = await observer.call('watch', { model, version: this.#version })
      const seconds = (clock.monotonic() - begin) / 1000
      const nodes = await observer.call('statuses', { model })
      for (const node of nodes) this.#showStatus(node, true)
      return { version: this.#version, status, nodes, seconds }
    } finally {
      stopListening()
      for (const listener of this.#listeners.values()) listener('', true)
    }
  }

  #show(event: DemoEvent): void {
    if (event.event === 'convergence') for (const node of event.nodes) this.#showStatus(node, false)
    if (event.event === 'progress' && event.progress.subject === `${model}@${this.#version}`) {
      this.#line(event.progress.nodeId, transferText(event.progress), false)
    }
  }

  #showStatus(node: NodeModelStatus, isEnd: boolean): void {
    const settled = hasSettled(node, this.#version)
    if (node.phase === 'downloading' && !isEnd) return
    this.#line(node.nodeId, statusText(node), settled || isEnd)
  }

  #line(nodeId: NodeId, text: string, settled: boolean): void {
    const name = this.#fleet.nameOf(nodeId)
    this.#listeners.get(name)?.(text, settled)
    if (settled) this.#listeners.delete(name)
  }
}
