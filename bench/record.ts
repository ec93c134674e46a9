/**
 * What the shared record costs at the size of a whole mesh: bytes, time and memory. Statuses and descriptions are such as nodes
 * write, of about 400 bytes; the sizes are those of a body of 60 bytes. Rates stand beside bare `node:crypto` and bare gossip in
 * the same run. `npm run bench -- record --nodes 10000 --rounds 3 --json`
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { BenchResult, Row } from './run.js'
import { Child } from './support/child.js'
import { makeWriters } from './support/corpus.js'
import { withProcesses } from './support/processes.js'
import { measureHeal, type Heal } from './support/record-heal.js'
import { computeIdle, measureIdle, type Idle } from './support/record-idle.js'
import type { Ingest, Loaded, RecordCalls } from './support/record-process.js'
import { measurePropagation, type Propagation } from './support/record-propagation.js'
import { measureSize } from './support/record-size.js'
import { median, rounded } from './support/usage.js'
import { measureVerdict } from './support/verdict.js'

const models = 5
/** Entries on the page whose size is taken: as many as a bucket of the largest mesh has. */
const writersOfAPage = 157

interface Options {
  readonly nodes: number
  readonly rounds: number
  readonly seconds: number
  readonly gossips: number
  readonly directory: string
}

/** Measures the record. */
export default async function record(args: string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args,
    options: {
      nodes: { type: 'string', default: '10000' },
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '30' },
      gossips: { type: 'string', default: '50' }
    }
  })
  return withProcesses(async ({ directory }) => {
    await mkdir(directory, { recursive: true })
    const [nodes, rounds] = [Number(values.nodes), Number(values.rounds)]
    const options = { nodes, rounds, seconds: Number(values.seconds), gossips: Number(values.gossips), directory }
    const figures = {
      bytesPerEntry: await sizes(options),
      ...(await speeds(options)),
      heal: await heal(options),
      propagationMs: await propagation(options),
      idle: await idle(options)
    }
    return { rows: rowsOf(figures), figures }
  })
}

type Figures = Record<string, unknown>

async function sizes({ nodes, directory }: Options): Promise<Figures> {
  const writers = await makeWriters(Math.min(nodes, writersOfAPage))
  const size = async (writes: number, restarts = false): Promise<number> => {
    const { exported, logged } = await measureSize(writers, { writes, restarts, directory })
    return Math.max(exported, logged)
  }
  return {
    10: await size(10),
    100: await size(100),
    1000: await size(1000),
    restarts100: await size(100, true)
  }
}

/** Each in a process of its own, so that none pays for what another left behind. */
async function speeds({ nodes, rounds, directory }: Options): Promise<Figures> {
  const ingests: Ingest[] = []
  const loads: Loaded[] = []
  const updates: number[] = []
  const path = join(directory, 'document', 'log')
  await inProcess((child) => child.call('prepare', path, nodes, models))
  for (let round = 0; round < rounds; round++) {
    ingests.push(await inProcess((child) => child.call('ingest', join(directory, `ingest-${round}`, 'log'), nodes)))
    await inProcess(async (child) => {
      loads.push(await child.call('load', path))
      updates.push(await child.call('updates', nodes, 1000, round + 2))
    })
  }
  const of = <Item>(items: readonly Item[], read: (item: Item) => number, digits = 0): number =>
    rounded(median(items.map(read)), digits)
  return {
    ingest: {
      perSecond: of(ingests, ({ perSecond }) => perSecond),
      ceilingPerSecond: of(ingests, ({ ceilingPerSecond }) => ceilingPerSecond),
      ratio: of(ingests, ({ perSecond, ceilingPerSecond }) => perSecond / ceilingPerSecond, 2),
      cpuUs: of(ingests, ({ cpuUs }) => cpuUs, 1),
      ceilingCpuUs: of(ingests, ({ ceilingCpuUs }) => ceilingCpuUs, 1),
      duplicatePerSecond: of(ingests, ({ duplicatePerSecond }) => duplicatePerSecond)
    },
    eventToVerdictUs: rounded(measureVerdict({ nodes, models }).eventToVerdictUs, 1),
    updateUs: of(updates, (micros) => micros, 1),
    bareVerifyUs: of(loads, ({ verifyUs }) => verifyUs, 1),
    heapMb: of(loads, ({ heapMb, externalMb }) => heapMb + externalMb, 1),
    heapOfWhichExternalMb: of(loads, ({ externalMb }) => externalMb, 1),
    heapEmptyMb: of(loads, ({ emptyMb }) => emptyMb, 1),
    loadMs: of(loads, ({ loadMs }) => loadMs),
    loadCpuMs: of(loads, ({ loadCpuMs }) => loadCpuMs)
  }
}

async function inProcess<Result>(task: (child: Child<RecordCalls>) => Promise<Result>): Promise<Result> {
  const child = new Child<RecordCalls>(new URL('support/record-process.js', import.meta.url), ['--expose-gc'])
  try {
    return await task(child)
  } finally {
    await child.stop()
  }
}

async function heal({ nodes, directory }: Options): Promise<Heal> {
  return measureHeal(await makeWriters(nodes), directory)
}

async function propagation({ nodes, gossips, directory }: Options): Promise<Propagation> {
  return measurePropagation(await makeWriters(Math.min(nodes, 50)), { messages: gossips, directory })
}

async function idle({ nodes, seconds, directory }: Options): Promise<Figures> {
  const measured: Record<string, Idle> = {}
  for (const count of [10, 50].filter((size) => size <= nodes)) {
    measured[count] = await measureIdle(count, { seconds, directory })
  }
  const computed = Object.fromEntries([10, 100, 1000].map((members) => [members, computeIdle()]))
  return { computed, measured }
}

/** One row a figure: its path and its value. */
function rowsOf(figures: Figures, prefix = ''): Row[] {
  return Object.entries(figures).flatMap(([name, value]) =>
    typeof value === 'number' ? [{ figure: prefix + name, value }] : rowsOf(value as Figures, `${prefix}${name}.`)
  )
}
