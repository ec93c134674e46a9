import type { Timer } from '../../src/core/environment.js'
import { silentLogger } from '../../src/core/logger.js'
import type { NodeId, PageId, Version } from '../../src/core/ids.js'
import type { Member } from '../../src/fleet/membership.js'
import type { ObservedProgress, Progress } from '../../src/fleet/pulse.js'
import { exclusion } from '../../src/models/scope.js'
import type { Entry } from '../../src/record/entry.js'
import type { EntryListener } from '../../src/record/shared-document.js'
import type { PageKind } from '../../src/record/policy.js'
import { convergence, rolloutFor, type ModelConvergenceStatus } from '../../src/rollout/convergence.js'
import { rolloutKind, rolloutPage, type Intent, type RolloutBody } from '../../src/rollout/intent.js'
import { statusKind, type StatusBody } from '../../src/rollout/status.js'
import { DeploymentTracker, type TrackedDocument } from '../../src/rollout/tracker.js'
import { Verdicts } from '../../src/rollout/verdicts.js'
import { intentOf, nodeIdOf } from './rollouts.js'

export const { model } = intentOf(0)
/** A node that cannot be reached for longer is blocked by its network. */
export const offlineAfterMs = 60_000
/** When worlds begin, ms since 1970. */
export const startMs = 1_000_000

/** An entry of node `number`; which page it is on only says what it is about. */
function entryOf<Body>(page: PageId, number: number, body: Body, issuedAt = 0): Entry<Body> {
  return { page, writer: nodeIdOf(number), epoch: 0, seq: 0, issuedAt, body }
}

/** What node `number` says of the model. */
export function statusEntry(number: number, body: StatusBody, issuedAt: number): Entry<StatusBody> {
  return entryOf(`status/${model}/0` as PageId, number, body, issuedAt)
}

/** What node `number` says of the rollout of an intent. */
export function rolloutEntry(number: number, body: RolloutBody & { readonly intent: Intent }): Entry<RolloutBody> {
  return entryOf(rolloutPage(body.intent.id), number, body)
}

/** A document that says what it is told to say. */
class FakeDocument implements TrackedDocument {
  readonly #listeners = new Map<string, EntryListener<never>>()
  digests = 0

  register(): void {}

  subscribe<Body>(kind: PageKind<Body>, listener: EntryListener<Body>): () => void {
    this.#listeners.set(kind.name, listener)
    return () => this.#listeners.delete(kind.name)
  }

  tell<Body>(kind: PageKind<Body>, came: readonly Entry<Body>[], went: readonly Entry<Body>[]): void {
    // Whoever subscribed to this kind listens for its bodies.
    const listener = this.#listeners.get(kind.name) as EntryListener<Body> | undefined
    listener?.(came, went)
  }

  write(): Promise<void> {
    return Promise.reject(new Error('Nobody writes here'))
  }

  digest(): string {
    this.digests += 1
    return 'digest'
  }
}

/** Members as they are told, and how often they were looked at. */
class FakeMembership {
  readonly #members = new Map<NodeId, Member>()
  readonly #listeners = new Set<(nodes: readonly NodeId[]) => void>()
  listings = 0
  looks = 0

  members(): Member[] {
    this.listings += 1
    return [...this.#members.values()].toSorted((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
  }

  get(nodeId: NodeId): Member | undefined {
    this.looks += 1
    return this.#members.get(nodeId)
  }

  onChange(listener: (nodes: readonly NodeId[]) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Changes members; undefined takes one away. */
  set(changes: readonly (readonly [NodeId, Member | undefined])[]): void {
    for (const [nodeId, member] of changes) {
      if (member === undefined) this.#members.delete(nodeId)
      else this.#members.set(nodeId, member)
    }
    for (const listener of this.#listeners) listener(changes.map(([nodeId]) => nodeId))
  }
}

class FakeClock {
  wallMs = startMs

  now(): number {
    return this.wallMs
  }

  monotonic(): number {
    return this.wallMs
  }

  setTimer(): Timer {
    throw new Error('Verdicts need no timer')
  }
}

/** Verdicts over a document, members, transfers and a clock that do as they are told. */
export class VerdictWorld {
  readonly document = new FakeDocument()
  readonly tracker = new DeploymentTracker(this.document, silentLogger)
  readonly membership = new FakeMembership()
  readonly clock = new FakeClock()
  readonly transfers = new Map<NodeId, ObservedProgress>()
  readonly verdicts: Verdicts

  constructor() {
    const { tracker, membership, clock } = this
    const pulses = { progressOf: (nodeId: NodeId) => this.transfers.get(nodeId) }
    this.verdicts = new Verdicts({ tracker, membership, clock, pulses }, { offlineAfterMs })
  }

  statuses(came: readonly Entry<StatusBody>[], went: readonly Entry<StatusBody>[] = []): void {
    this.document.tell(statusKind, came, went)
  }

  rollouts(came: readonly Entry<RolloutBody>[], went: readonly Entry<RolloutBody>[] = []): void {
    this.document.tell(rolloutKind, came, went)
  }

  transfer(number: number, progress: (Progress & { bytesPerSecond: number | undefined }) | undefined): void {
    const nodeId = nodeIdOf(number)
    if (progress === undefined) this.transfers.delete(nodeId)
    else this.transfers.set(nodeId, { nodeId, ...progress })
  }

  /** The verdict of the index, as it would be handed out. */
  status(version: Version): ModelConvergenceStatus | undefined {
    const verdict = this.verdicts.read(model, version)
    return verdict === undefined ? undefined : this.verdicts.stamped(verdict)
  }

  /** The verdict computed from everything anew. */
  rescanned(version: Version): ModelConvergenceStatus | undefined {
    const rollouts = this.tracker.rolloutsOf(model)
    const rollout = rolloutFor(rollouts, version)
    if (rollout === undefined) return undefined
    const subject = `${model}@${version}`
    const statuses = this.tracker.statusesOf(model)
    const transfers = new Map([...this.transfers].filter(([, progress]) => progress.subject === subject))
    const members = this.membership.members()
    const now = this.clock.now()
    return convergence({ rollout, rollouts, members, statuses, transfers, now, offlineAfterMs, digest: 'digest' })
  }

  /** Time until the next member of the scope counts as blocked by its network, looked for among all. */
  rescannedDue(version: Version): number | undefined {
    const scope = rolloutFor(this.tracker.rolloutsOf(model), version)?.intent.scope
    if (scope === undefined) return undefined
    const waits = this.membership.members().flatMap((member) => {
      const waitMs = (member.offlineSince ?? -Infinity) + offlineAfterMs - this.clock.now()
      return waitMs > 0 && exclusion(scope, member) === undefined ? [waitMs] : []
    })
    return waits.length === 0 ? undefined : Math.min(...waits)
  }
}
