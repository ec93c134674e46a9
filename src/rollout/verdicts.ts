import type { Clock } from '../core/environment.js'
import type { ModelId, NodeId, Version } from '../core/ids.js'
import type { Membership } from '../fleet/membership.js'
import type { Pulses } from '../fleet/pulse.js'
import { asOf, rolloutFor, type ModelConvergenceStatus, type Verdict } from './convergence.js'
import type { Rollout } from './intent.js'
import type { DeploymentTracker } from './tracker.js'
import { VerdictIndex, type VerdictSource } from './verdict-index.js'

/** What verdicts are computed from. */
export interface VerdictsComponents {
  readonly tracker: Pick<DeploymentTracker, 'rolloutsOf' | 'statusesOf' | 'status' | 'digest' | 'onChange'>
  readonly membership: Pick<Membership, 'members' | 'get' | 'onChange'>
  readonly pulses: Pick<Pulses, 'progressOf'>
  readonly clock: Clock
}

/** Settings of verdicts. */
export interface VerdictsInit {
  /** A node unreachable for longer than this is blocked by its network, ms. */
  readonly offlineAfterMs: number
}

/** An index with what it stands for. */
interface Kept {
  readonly model: ModelId
  readonly index: VerdictIndex
}

/** As many rollouts as people watch at a time; at 10 000 members an index takes about 1.5 MB, so 24 MB at most. */
const maxKept = 16

/**
 * The verdicts that somebody asks for. The first question about a version looks at all members; from then on what happens
 * is noted, and the next question looks at what changed. An index that nobody asks falls behind and is dropped.
 */
export class Verdicts {
  readonly #components: VerdictsComponents
  readonly #init: VerdictsInit
  /** By model and version, the one asked last at the end. */
  readonly #kept = new Map<string, Kept>()

  constructor(components: VerdictsComponents, init: VerdictsInit) {
    const { tracker, membership } = components
    this.#components = components
    this.#init = init
    tracker.onChange((model, change, nodes) => this.#onTracker(model, change === 'rollout' ? undefined : nodes))
    membership.onChange((nodes) => this.#touch([...this.#kept], nodes))
  }

  /** The verdict over a version at this moment; undefined when no rollout of it is known. */
  read(model: ModelId, version: Version): Verdict | undefined {
    const now = this.#components.clock.now()
    return this.#index(model, version, now)?.read(now)
  }

  /**
   * The verdict read last, with what it was computed from, to be handed out: the digest of the document takes much longer
   * than the verdict, so it is asked for these alone, and at once, before anything can change.
   */
  stamped(verdict: Verdict): ModelConvergenceStatus {
    const kept = this.#kept.get(keyOf(verdict.modelId, verdict.targetVersion))
    return { ...verdict, asOf: asOf(this.#components.tracker.digest(), kept?.index.oldestStatus ?? Infinity) }
  }

  /** Time until the verdict that was read last changes without anything else happening, ms; undefined when never. */
  untilNextDue(model: ModelId, version: Version): number | undefined {
    const due = this.#kept.get(keyOf(model, version))?.index.nextDue
    return due === undefined ? undefined : Math.max(0, due - this.#components.clock.now())
  }

  #index(model: ModelId, version: Version, now: number): VerdictIndex | undefined {
    const key = keyOf(model, version)
    const kept = this.#kept.get(key)
    const isCurrent = kept !== undefined && !kept.index.isSpent(now)
    const index = isCurrent ? kept.index : this.#build(model, version, now)
    this.#kept.delete(key)
    if (index !== undefined) this.#keep(key, { model, index })
    return index
  }

  #build(model: ModelId, version: Version, now: number): VerdictIndex | undefined {
    const rollouts = this.#components.tracker.rolloutsOf(model)
    const rollout = rolloutFor(rollouts, version)
    if (rollout === undefined) return undefined
    return new VerdictIndex(this.#source(rollout), { rollout, rollouts, ...this.#init }, now)
  }

  #source({ intent }: Rollout): VerdictSource {
    const { tracker, membership, pulses } = this.#components
    const subject = `${intent.model}@${intent.version}`
    return {
      members: () => membership.members(),
      member: (nodeId) => membership.get(nodeId),
      status: (nodeId) => tracker.status(intent.model, nodeId),
      transfer: (nodeId) => {
        const progress = pulses.progressOf(nodeId)
        return progress?.subject === subject ? progress : undefined
      }
    }
  }

  #keep(key: string, kept: Kept): void {
    this.#kept.set(key, kept)
    const oldest = this.#kept.size > maxKept ? this.#kept.keys().next().value : undefined
    if (oldest !== undefined) this.#kept.delete(oldest)
  }

  #onTracker(model: ModelId, nodes: readonly NodeId[] | undefined): void {
    this.#touch(
      [...this.#kept].filter(([, kept]) => kept.model === model),
      nodes
    )
  }

  /** Tells indexes which nodes changed; without nodes that is all, and they are dropped, as are those that fell behind. */
  #touch(concerned: readonly [string, Kept][], nodes: readonly NodeId[] | undefined): void {
    const now = this.#components.clock.now()
    for (const [key, { index }] of concerned) {
      if (nodes !== undefined) index.touch(nodes)
      if (nodes === undefined || index.isSpent(now)) this.#kept.delete(key)
    }
  }
}

function keyOf(model: ModelId, version: Version): string {
  return `${model}@${version}`
}
