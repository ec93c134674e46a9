import type { Cid, ModelId, NodeId, RolloutId, Version } from '../core/ids.js'
import type { Member } from '../fleet/membership.js'
import { exclusion } from '../models/scope.js'
import { precedes, winningRollout, type Rollout } from './intent.js'
import type { BlockerReason, ObservedStatus, Phase, StatusBlocker, StatusBody } from './status.js'

/** What keeps a node from converging, with the numbers and what to do. */
export interface ConvergenceBlocker extends StatusBlocker {
  readonly nodeId: NodeId
  /** What would help. */
  readonly nextStep: string
}

/** The bucket of a node of the scope; each is in exactly one. */
export type Bucket = 'converged' | 'degraded' | 'inProgress' | 'pending' | 'failed' | 'superseded'

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

interface Assessment {
  readonly nodeId: NodeId
  readonly bucket: Bucket
  readonly blocker: ConvergenceBlocker | undefined
  /** Whether waiting alone will change nothing. */
  readonly settled: boolean
}

/** What helps against each reason. */
const nextSteps: Readonly<Record<BlockerReason, string>> = Object.freeze({
  networkPartition: 'Check the power, the cable and the firewall of the node; it catches up by itself once it is back.',
  insufficientStorage: 'Free the missing space on the node; it goes on by itself.',
  insufficientGpuMemory: 'Publish a smaller variant, or take the node out of the scope.',
  transferFailed: 'It is tried again by itself; see that a node that holds the version is up.',
  deploymentFailed: 'Read the message, mend the model or its check, and publish a new version.',
  incompatibleCapabilities: 'Publish a variant that fits the node, or declare what the probe could not find out.',
  nodeBusy: 'The application asked to wait; it goes on when the application is ready.',
  unknown: 'Look at the log of the node.'
})

/** These do not go away by waiting; a rollout in which nothing else is open is complete. */
const lasting: ReadonlySet<BlockerReason> = new Set([
  'insufficientStorage',
  'insufficientGpuMemory',
  'incompatibleCapabilities',
  'deploymentFailed',
  'networkPartition'
])

/** Phases of a node that works towards its target, and of one that tried and did not get there. */
const underWay: ReadonlySet<Phase> = new Set(['downloading', 'staged', 'loading', 'verifying'])
const givenUp: ReadonlySet<Phase> = new Set(['failed', 'rolledBack'])

/** Computes the verdict. Pure: the same document, presence and time give the same verdict on every node. */
export function convergence(input: ConvergenceInput): ModelConvergenceStatus {
  const { intent, cancelled } = input.rollout
  const inScope = input.members.filter((member) => exclusion(intent.scope, member) === undefined)
  const assessments = inScope.map((member) => assess(member, input))
  const counts = countBuckets(assessments)
  const oldest = Math.min(...inScope.map(({ nodeId }) => input.statuses.get(nodeId)?.updatedAt ?? Infinity))
  const remainingMs = estimate(assessments, input)
  return {
    modelId: intent.model,
    targetVersion: intent.version,
    rollout: intent.id,
    state: stateOf(assessments, cancelled),
    totalPlatforms: inScope.length,
    ...counts,
    excluded: input.members.length - inScope.length,
    offline: inScope.filter((member) => !member.online).length,
    versionDistribution: countVersions(inScope, input.statuses),
    blockers: assessments.flatMap(({ blocker }) => blocker ?? []),
    ...(remainingMs === undefined ? {} : { estimatedCompletion: remainingMs }),
    asOf: { digest: input.digest, ...(oldest === Infinity ? {} : { oldestStatus: oldest }) }
  }
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
export function isComplete(status: ModelConvergenceStatus): boolean {
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

function assess(member: Member, input: ConvergenceInput): Assessment {
  const status = input.statuses.get(member.nodeId)
  const bucket = bucketOf(member, status, input)
  const found = bucket === 'superseded' ? undefined : blockerOf(member, status, input)
  // A converged node is blocked only by being gone: its last word need not hold any more.
  const blocker = bucket === 'converged' && found?.reason !== 'networkPartition' ? undefined : found
  const isDone = bucket !== 'inProgress' && bucket !== 'pending'
  return {
    nodeId: member.nodeId,
    bucket,
    blocker,
    settled: isDone || (blocker !== undefined && lasting.has(blocker.reason))
  }
}

function bucketOf(member: Member, status: ObservedStatus | undefined, { rollout, rollouts }: ConvergenceInput): Bucket {
  const { intent } = rollout
  const current = status?.body.current
  const isPinnedElse = intent.variant !== undefined && intent.variant !== current?.variant
  const runs = status !== undefined && current?.release === intent.release && !isPinnedElse
  const winner = winningRollout(rollouts, member)
  const isBeaten = winner !== undefined && winner.intent.id !== intent.id && winner.intent.release !== intent.release
  // A later rollout that was cancelled asks nothing any more: who runs this version stays with it.
  if (isBeaten && !(runs && winner.cancelled)) return 'superseded'
  if (runs) return hasTrouble(status.body) ? 'degraded' : 'converged'
  if (status?.body.target?.rollout !== intent.id) return 'pending'
  if (underWay.has(status.body.phase)) return 'inProgress'
  return givenUp.has(status.body.phase) ? 'failed' : 'pending'
}

/** Whether what should run does not, or not well: the same release is going in anew, or going back to it failed. */
function hasTrouble({ phase }: StatusBody): boolean {
  return phase === 'degraded' || phase === 'failed' || phase === 'unloading'
}

function blockerOf(
  member: Member,
  status: ObservedStatus | undefined,
  input: ConvergenceInput
): ConvergenceBlocker | undefined {
  const { nodeId, offlineSince } = member
  const own = status?.body.target?.rollout === input.rollout.intent.id ? status.body.blocker : undefined
  const isLost = offlineSince !== undefined && input.now - offlineSince >= input.offlineAfterMs
  // Why a version failed stays the reason, wherever its node has gone since.
  if (isLost && own?.reason !== 'deploymentFailed') {
    const reason = 'networkPartition'
    const message = `${member.name} has not been reachable from here`
    return { nodeId, reason, since: offlineSince, message, nextStep: nextSteps[reason] }
  }
  return own === undefined ? undefined : { nodeId, ...own, nextStep: nextSteps[own.reason] }
}

function stateOf(assessments: readonly Assessment[], cancelled: boolean): RolloutState {
  if (cancelled) return 'cancelled'
  if (assessments.length === 0) return 'empty'
  return assessments.every(({ settled }) => settled) ? 'complete' : 'running'
}

function countBuckets(assessments: readonly Assessment[]): Record<Bucket, number> {
  const counts = { converged: 0, degraded: 0, inProgress: 0, pending: 0, failed: 0, superseded: 0 }
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
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** The longest of the transfers in progress; undefined unless the rate of each is known. */
function estimate(assessments: readonly Assessment[], { transfers, statuses }: ConvergenceInput): number | undefined {
  let longestMs: number | undefined
  for (const { nodeId, bucket, settled } of assessments) {
    const isMoving = bucket === 'inProgress' && !settled && statuses.get(nodeId)?.body.phase === 'downloading'
    if (!isMoving) continue
    const transfer = transfers.get(nodeId)
    if (transfer?.bytesPerSecond === undefined || transfer.bytesPerSecond <= 0) return undefined
    const remainingMs = ((transfer.totalBytes - transfer.haveBytes) / transfer.bytesPerSecond) * 1000
    longestMs = Math.max(longestMs ?? 0, Math.round(remainingMs))
  }
  return longestMs
}
