import Table from 'cli-table3'
import type { ConvergenceBlocker, NodeModelStatus } from '../../index.js'
import { cast } from './cast.js'
import type { DemoFleet } from './fleet.js'
import type { RolloutResult } from './rollout-run.js'
import { sizeText } from './rollout-view.js'

/** What the demo found out. */
export interface DemoResult {
  readonly discoveredMs: number
  readonly full: RolloutResult
  readonly delta: RolloutResult
  readonly failing: RolloutResult
  /** Size of the delta's file, by variant. */
  readonly fileBytes: Readonly<Record<string, number>>
}

/** The one JSON object of `--json`. */
export interface DemoReport {
  readonly nodes: number
  readonly discoveredMs: number
  readonly full: {
    readonly total: number
    readonly converged: number
    readonly excluded: number
    readonly seconds: number
    /** Bytes that receivers got from the node that published, and from each other. */
    readonly bytesFromSource: number
    readonly bytesFromPeers: number
  }
  /** Bytes that the node with the largest share had to fetch, beside the size of its file. */
  readonly delta: { readonly converged: number; readonly bytesPerNode: number; readonly fileBytes: number }
  readonly failing: { readonly failed: number; readonly restored: number }
  readonly blockers: readonly (Omit<ConvergenceBlocker, 'nodeId' | 'nextStep'> & {
    readonly node: string
    readonly version: string
  })[]
}

/** Puts the result into the form of `--json`. */
export function reportOf(fleet: DemoFleet, { discoveredMs, full, delta, failing, fileBytes }: DemoResult): DemoReport {
  const received = full.nodes.flatMap(({ transfer }) => transfer?.sources ?? [])
  const fromSource = received.filter(([peer]) => fleet.nameOf(peer) === cast[0]?.name)
  const total = sum(received.map(([, bytes]) => bytes))
  const bytesFromSource = sum(fromSource.map(([, bytes]) => bytes))
  const worst = delta.nodes
    .filter((node) => node.transfer !== undefined)
    .toSorted((a, b) => share(b, fileBytes) - share(a, fileBytes))[0]
  return {
    nodes: cast.length,
    discoveredMs,
    full: {
      total: full.status.totalPlatforms,
      converged: full.status.converged,
      excluded: full.status.excluded,
      seconds: Number(full.seconds.toFixed(2)),
      bytesFromSource,
      bytesFromPeers: total - bytesFromSource
    },
    delta: {
      converged: delta.status.converged,
      bytesPerNode: worst?.transfer?.receivedBytes ?? 0,
      fileBytes: fileBytes[worst?.variantId ?? ''] ?? 0
    },
    failing: {
      failed: failing.status.failed,
      restored: failing.nodes.filter(
        ({ phase, currentVersion }) => phase === 'rolledBack' && currentVersion === delta.version
      ).length
    },
    blockers: [full, delta, failing].flatMap(({ version, status }) =>
      status.blockers.map(({ nodeId, nextStep: _nextStep, ...blocker }) => ({
        node: fleet.nameOf(nodeId),
        version,
        ...blocker
      }))
    )
  }
}

function share({ transfer, variantId }: NodeModelStatus, fileBytes: DemoResult['fileBytes']): number {
  return (transfer?.receivedBytes ?? 0) / (fileBytes[variantId ?? ''] ?? Infinity)
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

/** Per node and version: what came how, from whom, in what time. */
export function transferTable(fleet: DemoFleet, results: readonly RolloutResult[]): string {
  const table = new Table({
    head: ['node', 'version', 'variant', 'received', 'reused', 'from', 'transfer', 'now'],
    style: { head: [], border: [] }
  })
  for (const { version, nodes } of results) {
    for (const node of nodes.toSorted((a, b) => order(fleet, a) - order(fleet, b)))
      table.push(transferRow(fleet, version, node))
  }
  return table.toString()
}

function transferRow(fleet: DemoFleet, version: string, node: NodeModelStatus): string[] {
  const { transfer, phase, variantId = '-', blocker } = node
  const name = fleet.nameOf(node.nodeId)
  if (phase === 'queued' || transfer === undefined)
    return [name, version, '-', '-', '-', '-', '-', blocker?.reason ?? phase]
  const from = transfer.sources.map(([peer, bytes]) => `${fleet.nameOf(peer)} ${sizeText(bytes)}`).join('\n')
  const now = phase === 'rolledBack' ? `restored ${node.currentVersion ?? '-'}` : `runs ${node.currentVersion ?? '-'}`
  const received = sizeText(transfer.receivedBytes)
  return [
    name,
    version,
    variantId,
    received,
    sizeText(transfer.reusedBytes),
    from,
    `${transfer.seconds.toFixed(1)} s`,
    now
  ]
}

function order(fleet: DemoFleet, { nodeId }: NodeModelStatus): number {
  return cast.findIndex(({ name }) => name === fleet.nameOf(nodeId))
}

/** Every blocker with its numbers and what to do; the same one of several nodes or versions is said once. */
export function blockerLines(fleet: DemoFleet, results: readonly RolloutResult[]): string[] {
  const lines = new Map<string, { readonly nodes: Set<string>; readonly versions: Set<string> }>()
  for (const { version, status } of results) {
    for (const blocker of status.blockers) {
      const text = blockerText(blocker)
      const line = lines.get(text) ?? { nodes: new Set(), versions: new Set() }
      line.nodes.add(fleet.nameOf(blocker.nodeId))
      line.versions.add(version)
      lines.set(text, line)
    }
  }
  return Array.from(
    lines,
    ([text, { nodes, versions }]) => `${[...nodes].join(', ')} (${[...versions].join(', ')}): ${text}`
  )
}

function blockerText({ reason, message, required, available, unit, nextStep }: ConvergenceBlocker): string {
  const numbers =
    required === undefined ? '' : ` [required ${required}, available ${available ?? 'unknown'} ${unit ?? ''}]`
  return `${reason}${numbers}\n    ${message}\n    ${nextStep}`
}
