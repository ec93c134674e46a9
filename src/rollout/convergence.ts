import type { Cid, ModelId, NodeId, RolloutId, Version } from '../core/ids.js'
import type { Member } from '../fleet/membership.js'
import { exclusion } from '../models/scope.js'
import { assess, type Assessment, type Bucket, type ConvergenceBlocker } from './assessment.js'
import { precedes, winningRollout, type Rollout } from './intent.js'
import type { ObservedStatus } from './status.js'

/** What the mesh as a whole is about. */
export type RolloutState = 'empty' | 'running' | 'cancelled' | 'complete'

/** The verdict over a model version: who runs it, who does not yet, and why (features A2). */
export interface ModelConvergenceStatus {
  readonly modelId: ModelId
  readonly targetVersion: Version
  /** The rollout that it speaks of. */
  readonly rollout: RolloutId
  readonly state: RolloutState
  /** Members in scope; the sum of the six buckets below. */
  readonly totalPlatforms: number
  /** The version's bytes are operational. */
  readonly converged: number
  /** They run, but not well. */
  readonly degraded: number
  /** Receiving, loading or verifying. */
  readonly inProgress: number
  /** Not begun. */
  readonly pending: number
  /** Transfer or deployment failed, or the node went back. */
  readonly failed: number
  /** A later rollout counts on these. */
  readonly superseded: number
  /** Members outside the scope; not part of the total. */
  readonly excluded: number
  /** Of the total, those that were not reachable from here when this was computed. */
  readonly offline: number
  /** How many members of the scope run which version. */
  readonly versionDistribution: Readonly<Record<string, number>>
  readonly blockers: readonly ConvergenceBlocker[]
  /** Milliseconds until the transfers in progress are over, at the observed rates; absent when unknown. */
  readonly estimatedCompletion?: number
  /** What the verdict was computed from. */
  readonly asOf: { readonly digest: string; readonly oldestStatus?: number }
}

/** A verdict but for what it was computed from, which is looked up for those alone that are handed out. */
export type Verdict = Omit<ModelConvergenceStatus, 'asOf'>

/** How far a node's transfer is and how fast, from pulses. */
export interface TransferRate {
  readonly haveBytes: number
  readonly totalBytes: number
  readonly bytesPerSecond: number | undefined
}

/** All that a verdict depends on. */
export interface ConvergenceInput {
  readonly rollout: Rollout
  /** All rollouts of the model, for what superseded this one. */
  readonly rollouts: readonly Rollout[]
  readonly members: readonly Member[]
  readonly statuses: ReadonlyMap<NodeId, ObservedStatus>
  readonly transfers: ReadonlyMap<NodeId, TransferRate>
  /** Wall clock, ms since 1970. */
  readonly now: number
  /** A node unreachable for longer than this is blocked by its network, ms. */
  readonly offlineAfterMs: number
  readonly digest: string
}

/**
 * Computes the verdict from everything anew. Pure: the same document, presence and time give the same verdict on every
 * node. This is what a verdict means; `VerdictIndex` keeps the same one up to date at the cost of what changes.
 */
export function convergence(input: ConvergenceInput): ModelConvergenceStatus {
  const { rollout, rollouts, members, statuses } = input
  const inScope = members.filter((member) => exclusion(rollout.intent.scope, member) === undefined)
  const assessments = inScope.map((member) =>
    assess({ member, status: statuses.get(member.nodeId), winner: winningRollout(rollouts, member) }, input)
  )
  const oldest = inScope.reduce((time, { nodeId }) => Math.min(time, statuses.get(nodeId)?.updatedAt ?? time), Infinity)
  const moving = inScope.filter((_, at) => assessments[at]?.isMoving === true).map(({ nodeId }) => nodeId)
  const remainingMs = timeLeft(moving, input.transfers)
  const verdict = {
    modelId: rollout.intent.model,
    targetVersion: rollout.intent.version,
    rollout: rollout.intent.id,
    state: stateOf(rollout, inScope.length, assessments.filter(({ settled }) => !settled).length),
    totalPlatforms: inScope.length,
    ...countBuckets(assessments),
    excluded: members.length - inScope.length,
    offline: inScope.filter((member) => !member.online).length,
    versionDistribution: countVersions(inScope, statuses),
    blockers: assessments.flatMap(({ blocker }) => blocker ?? []),
    ...(remainingMs === undefined ? {} : { estimatedCompletion: remainingMs })
  }
  return { ...verdict, asOf: asOf(input.digest, oldest) }
}

/** The state of a rollout with this many nodes in its scope, of which so many may still get on by waiting alone. */
export function stateOf({ cancelled }: Rollout, total: number, unsettled: number): RolloutState {
  if (cancelled) return 'cancelled'
  if (total === 0) return 'empty'
  return unsettled === 0 ? 'complete' : 'running'
}

/** The longest of the transfers of these nodes, ms; undefined unless there is one and the rate of each is known. */
export function timeLeft(
  moving: Iterable<NodeId>,
  transfers: Pick<ReadonlyMap<NodeId, TransferRate>, 'get'>
): number | undefined {
  let longestMs: number | undefined
  for (const nodeId of moving) {
    const transfer = transfers.get(nodeId)
    if (transfer?.bytesPerSecond === undefined || transfer.bytesPerSecond <= 0) return undefined
    const remainingMs = ((transfer.totalBytes - transfer.haveBytes) / transfer.bytesPerSecond) * 1000
    longestMs = Math.max(longestMs ?? 0, Math.round(remainingMs))
  }
  return longestMs
}

/** What a verdict was computed from; `oldest` is infinite when no node of the scope has said anything. */
export function asOf(digest: string, oldest: number): ModelConvergenceStatus['asOf'] {
  return { digest, ...(oldest === Infinity ? {} : { oldestStatus: oldest }) }
}

/** The rollout that a question about a version means: the one that counts most among those that aim at it. */
export function rolloutFor(rollouts: readonly Rollout[], version: Version, release?: Cid): Rollout | undefined {
  const aiming = rollouts.filter(
    ({ intent }) => intent.version === version && (release ?? intent.release) === intent.release
  )
  return aiming.reduce<Rollout | undefined>(
    (best, rollout) => (best === undefined || precedes(rollout.intent, best.intent) ? rollout : best),
    undefined
  )
}

/** Whether every node of the scope is where it will stay unless something outside changes. */
export function isComplete(status: Pick<ModelConvergenceStatus, 'state'>): boolean {
  return status.state === 'complete' || status.state === 'cancelled'
}

/** Whether all nodes of a scope that is not empty have converged. */
export function isSuccess(status: ModelConvergenceStatus): boolean {
  return status.totalPlatforms > 0 && status.converged === status.totalPlatforms
}

/** The converged part of the scope, 0 to 1; 0 for an empty one, which is never a success. */
export function convergenceProgress(status: ModelConvergenceStatus): number {
  return status.totalPlatforms === 0 ? 0 : status.converged / status.totalPlatforms
}

/** No node in any bucket. */
export function noCounts(): Record<Bucket, number> {
  return { converged: 0, degraded: 0, inProgress: 0, pending: 0, failed: 0, superseded: 0 }
}

function countBuckets(assessments: readonly Assessment[]): Record<Bucket, number> {
  const counts = noCounts()
  for (const { bucket } of assessments) counts[bucket] += 1
  return counts
}

function countVersions(
  members: readonly Member[],
  statuses: ReadonlyMap<NodeId, ObservedStatus>
): Record<string, number> {
  const counts = new Map<string, number>()
  for (const { nodeId } of members) {
    const version = statuses.get(nodeId)?.body.current?.version
    if (version !== undefined) counts.set(version, (counts.get(version) ?? 0) + 1)
  }
  return sortedCounts(counts)
}

/** Counts as an object, sorted by name. */
export function sortedCounts(counts: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)))
}
