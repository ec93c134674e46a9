/**
 * How well the nodes of the mesh are, as one of them sees it. Pure: the same observations give the same answer.
 *
 * The field knows this as heartbeat, timeout and allowed failures (5 s, 15 s, 3 in a row). Here no heartbeats are sent: the
 * interval is that at which presence watches its links, the timeout is the silence after which it suspects a node, and what
 * stands for the allowed failures are the other nodes that are asked before a node counts as failed. Presets of those figures
 * belong to presence; the thresholds below are for what presence does not see.
 */
import type { NodeId } from '../core/ids.js'
import type { PresenceState } from './presence.js'
import type { UptimeFigure } from './uptime.js'

/** How well a node is. `unknown`: nothing was heard of it since this node started, which is neither well nor ill. */
export type HealthStatus = 'healthy' | 'degraded' | 'unhealthy' | 'unknown'

/** How a fleet root is. */
export interface RootFigures {
  /** Versions of which the root keys signed more than one root; at most 16 are remembered. */
  readonly forks: number
  /** Its owners should have renewed it by now. */
  readonly isExpired: boolean
}

/** What is observed of a node. */
export interface Observation {
  readonly nodeId: NodeId
  readonly name: string
  readonly presence: PresenceState
  readonly uptime: UptimeFigure | undefined
  /** Messages of it that were refused. */
  readonly refusals: number
  /** Times that it signed two values for one place. */
  readonly equivocations: number
  /** 99th percentile of how late its process gets to its work, ms; undefined when it did not say. */
  readonly eventLoopMs: number | undefined
  /** Free disk space, MiB; undefined when unknown. */
  readonly freeDiskMb: number | undefined
  /** The fleet root that it knows; undefined of other nodes and without a fleet. */
  readonly root: RootFigures | undefined
}

/** How well a node is, and why not better. */
export interface NodeHealth {
  readonly nodeId: NodeId
  readonly name: string
  readonly status: HealthStatus
  /** For people, the worst first; empty when it is well. */
  readonly reasons: readonly string[]
  /** Of the recent past, the part in which it could be reached from here, 0 to 1; absent before any time has passed. */
  readonly uptimeRatio?: number
  readonly refusals: number
  readonly equivocations: number
}

/** How many nodes are how well. */
export interface HealthSummary {
  readonly total: number
  readonly healthy: number
  readonly degraded: number
  readonly unhealthy: number
  readonly unknown: number
  /** The healthy part of the total, 0 to 100; 0 when there is no node. */
  readonly percentage: number
}

/** At this a person feels it, and what a node answers is late, ms. */
const slowEventLoopMs = 200
/** At this a node is about to be suspected: a silence of 3 s is enough. */
const stuckEventLoopMs = 2000
/** Less than this is too little for any model and soon for the record, MiB. */
const scarceDiskMb = 1024
/** Six minutes away in the last hour. */
const lowUptimeRatio = 0.9
/** A ratio over less than this says nothing yet, ms. */
const minObservedMs = 300_000
/** A few messages of a node get refused when versions differ; more are a fault. */
const manyRefusals = 10

type Finding = readonly [status: 'degraded' | 'unhealthy' | 'unknown', reason: string]

/** The worse, the higher. A node that cannot be judged is not called ill. */
const severity: Readonly<Record<HealthStatus, number>> = { healthy: 0, degraded: 1, unknown: 2, unhealthy: 3 }

/** Judges a node by the worst that is found. */
export function nodeHealth(observation: Observation): NodeHealth {
  const { nodeId, name, uptime, refusals, equivocations } = observation
  const findings = [
    ...presenceFindings(observation),
    ...conductFindings(observation),
    ...vitalFindings(observation),
    ...rootFindings(observation)
  ]
  findings.sort(([a], [b]) => severity[b] - severity[a])
  return {
    nodeId,
    name,
    status: findings[0]?.[0] ?? 'healthy',
    reasons: findings.map(([, reason]) => reason),
    ...(uptime === undefined ? {} : { uptimeRatio: uptime.ratio }),
    refusals,
    equivocations
  }
}

/** Counts the nodes. */
export function healthSummary(nodes: readonly NodeHealth[]): HealthSummary {
  const counts = { healthy: 0, degraded: 0, unhealthy: 0, unknown: 0 }
  for (const { status } of nodes) counts[status] += 1
  const total = nodes.length
  return { total, ...counts, percentage: total === 0 ? 0 : (100 * counts.healthy) / total }
}

function presenceFindings({ presence, uptime }: Observation): Finding[] {
  if (presence === 'failed') return [['unhealthy', 'it cannot be reached']]
  if (presence === 'unknown') return [['unknown', 'nothing was heard of it since this node started']]
  const findings: Finding[] = presence === 'suspected' ? [['degraded', 'it has not answered lately']] : []
  if (uptime !== undefined && uptime.observedMs >= minObservedMs && uptime.ratio < lowUptimeRatio) {
    findings.push(['degraded', `it could be reached ${Math.floor(100 * uptime.ratio)} % of the time`])
  }
  return findings
}

function conductFindings({ refusals, equivocations }: Observation): Finding[] {
  const findings: Finding[] = []
  if (equivocations > 0)
    findings.push(['degraded', 'it signed two values for one place: a copied disk or a stolen key'])
  if (refusals >= manyRefusals) findings.push(['degraded', `${refusals} of its messages were refused`])
  return findings
}

function vitalFindings({ eventLoopMs, freeDiskMb }: Observation): Finding[] {
  const findings: Finding[] = []
  if (eventLoopMs !== undefined && eventLoopMs >= slowEventLoopMs) {
    const status = eventLoopMs >= stuckEventLoopMs ? 'unhealthy' : 'degraded'
    findings.push([status, `its process is ${Math.round(eventLoopMs)} ms late`])
  }
  if (freeDiskMb !== undefined && freeDiskMb < scarceDiskMb) {
    findings.push(['degraded', `its disk has ${freeDiskMb} MiB left`])
  }
  return findings
}

function rootFindings({ root }: Observation): Finding[] {
  const findings: Finding[] = []
  if (root?.isExpired === true) findings.push(['degraded', 'the fleet root that it knows has expired: renew it'])
  if (root !== undefined && root.forks > 0) {
    findings.push(['degraded', `the root keys signed ${root.forks} versions of the fleet root twice: rotate them`])
  }
  return findings
}
