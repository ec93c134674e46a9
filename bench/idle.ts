/**
 * What a node at rest costs: five nodes, each a process, that found each other by real mDNS on loopback, hold nothing and
 * do nothing. The figures are medians of the five. Bytes are those on TCP links; mDNS is a few hundred bytes a minute more.
 * `npm run bench -- idle --seconds 60 --settle 20 --json`
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { BenchResult } from './run.js'
import { withProcesses, type BenchNode } from './support/processes.js'
import { median, rounded } from './support/usage.js'

const meshSize = 5

interface Rest {
  readonly rssMb: number
  readonly cpuPercent: number
  readonly bytesPerSecond: number
}

/** What it should cost at most. */
const aims: Rest = { rssMb: 95, cpuPercent: 0.5, bytesPerSecond: 600 }

/** Measures nodes at rest. */
export default async function idle(args: string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args,
    options: { seconds: { type: 'string', default: '60' }, settle: { type: 'string', default: '20' } }
  })
  return withProcesses(async (processes) => {
    const mesh = await processes.mesh(meshSize, { discovery: true })
    await sleep(Number(values.settle) * 1000)
    const nodes = await Promise.all(mesh.map((node) => watch(node, Number(values.seconds))))
    const figures: Rest = {
      rssMb: rounded(median(nodes.map(({ rssMb }) => rssMb)), 1),
      cpuPercent: rounded(median(nodes.map(({ cpuPercent }) => cpuPercent)), 3),
      bytesPerSecond: rounded(median(nodes.map(({ bytesPerSecond }) => bytesPerSecond)), 1)
    }
    const rows = [...nodes.map((rest, at) => ({ node: `${at + 1}`, ...rest })), { node: 'median', ...figures }]
    return { rows: [...rows, { node: 'aim', ...aims }], figures: { ...figures } }
  })
}

/** What one node uses over some seconds. */
async function watch({ child }: BenchNode, seconds: number): Promise<Rest> {
  const before = await child.call('usage')
  await sleep(seconds * 1000)
  const after = await child.call('usage')
  const elapsedS = after.wallS - before.wallS
  const bytes = after.sentBytes + after.receivedBytes - before.sentBytes - before.receivedBytes
  return {
    rssMb: rounded(after.rssMb, 1),
    cpuPercent: rounded(((after.cpuS - before.cpuS) / elapsedS) * 100, 3),
    bytesPerSecond: rounded(bytes / elapsedS, 1)
  }
}
