import type { NodeId } from '../core/ids.js'
import type { Member } from '../fleet/membership.js'
import type { Rollout } from './intent.js'
import type { BlockerReason, ObservedStatus, Phase, StatusBlocker, StatusBody } from './status.js'

/** What keeps a node from converging, with the numbers and what to do. */
export interface ConvergenceBlocker extends StatusBlocker {
  readonly nodeId: NodeId
  /** What would help. */
  readonly nextStep: string
}

/** The bucket of a node of the scope; each is in exactly one. */
export type Bucket = 'converged' | 'degraded' | 'inProgress' | 'pending' | 'failed' | 'superseded'

/** Where one node of the scope stands with a rollout. */
export interface Assessment {
  readonly bucket: Bucket
  readonly blocker: ConvergenceBlocker | undefined
  /** Whether waiting alone will change nothing. */
  readonly settled: boolean
  /** Whether its bytes are on their way, so that the time left depends on them. */
  readonly isMoving: boolean
}

/** What is known of a node of the scope. */
export interface Candidate {
  readonly member: Member
  readonly status: ObservedStatus | undefined
  /** The rollout that counts on it. */
  readonly winner: Rollout | undefined
}

/** What all nodes are held against. */
export interface Measure {
  readonly rollout: Rollout
  /** Wall clock, ms since 1970. */
  readonly now: number
  /** A node unreachable for longer than this is blocked by its network, ms. */
  readonly offlineAfterMs: number
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

/** Most nodes have no blocker: one object for all that are alike, not one for each of 10 000. */
const unblocked: Readonly<Record<Bucket | 'moving', Assessment>> = Object.freeze({
  converged: Object.freeze({ bucket: 'converged', blocker: undefined, settled: true, isMoving: false }),
  degraded: Object.freeze({ bucket: 'degraded', blocker: undefined, settled: true, isMoving: false }),
  failed: Object.freeze({ bucket: 'failed', blocker: undefined, settled: true, isMoving: false }),
  superseded: Object.freeze({ bucket: 'superseded', blocker: undefined, settled: true, isMoving: false }),
  pending: Object.freeze({ bucket: 'pending', blocker: undefined, settled: false, isMoving: false }),
  inProgress: Object.freeze({ bucket: 'inProgress', blocker: undefined, settled: false, isMoving: false }),
  moving: Object.freeze({ bucket: 'inProgress', blocker: undefined, settled: false, isMoving: true })
})

/** Tells where a node of the scope stands. Pure. */
export function assess(candidate: Candidate, measure: Measure): Assessment {
  const bucket = bucketOf(candidate, measure.rollout)
  const found = bucket === 'superseded' ? undefined : blockerOf(candidate, measure)
  // A converged node is blocked only by being gone: its last word need not hold any more.
  const blocker = bucket === 'converged' && found?.reason !== 'networkPartition' ? undefined : found
  const isDownloading = bucket === 'inProgress' && candidate.status?.body.phase === 'downloading'
  if (blocker === undefined) return unblocked[isDownloading ? 'moving' : bucket]
  const settled = unblocked[bucket].settled || lasting.has(blocker.reason)
  return { bucket, blocker, settled, isMoving: isDownloading && !settled }
}

/** From when on a member counts as blocked by its network, ms since 1970; undefined while it can be reached. */
export function lostAt({ offlineSince }: Member, offlineAfterMs: number): number | undefined {
  return offlineSince === undefined ? undefined : offlineSince + offlineAfterMs
}

function bucketOf({ status, winner }: Candidate, { intent }: Rollout): Bucket {
  const current = status?.body.current
  const isPinnedElse = intent.variant !== undefined && intent.variant !== current?.variant
  const runs = status !== undefined && current?.release === intent.release && !isPinnedElse
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

function blockerOf({ member, status }: Candidate, measure: Measure): ConvergenceBlocker | undefined {
  const { nodeId, offlineSince } = member
  const own = status?.body.target?.rollout === measure.rollout.intent.id ? status.body.blocker : undefined
  const lost = lostAt(member, measure.offlineAfterMs)
  const isLost = offlineSince !== undefined && lost !== undefined && lost <= measure.now
  // Why a version failed stays the reason, wherever its node has gone since.
  if (isLost && own?.reason !== 'deploymentFailed') {
    const reason = 'networkPartition'
    const message = `${member.name} has not been reachable from here`
    return { nodeId, reason, since: offlineSince, message, nextStep: nextSteps[reason] }
  }
  return own === undefined ? undefined : { ...own, nodeId, nextStep: nextSteps[own.reason] }
}
