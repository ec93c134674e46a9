/**
 * How long a model takes to one and to four nodes, and what CPU it costs, beside plain TCP on the same machine in the same
 * run. Every node is a process on loopback. Rounds of the two alternate, because a machine's speed drifts; the figures are
 * medians. `npm run bench -- delivery --size 256 --rounds 3 --json`
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { modelOf, writeSafetensors, type ModelShape } from '../test/support/safetensors.js'
import type { BenchResult, Row } from './run.js'
import type { Child } from './support/child.js'
import { withProcesses } from './support/processes.js'
import { median, rounded, sum, type Usage } from './support/usage.js'

const bytesPerMib = 1024 * 1024

interface ModelFile {
  readonly path: string
  readonly sizeMib: number
  readonly sha256: string
}

/** One delivery by murmurate. */
interface Delivery {
  readonly wallS: number
  readonly cpuS: number
  /** The part of `wallS` in which bytes move, on the node where that took longest. */
  readonly transferS: number
  /** Chunking, hashing and storing at the source, before the clock of `wallS` starts. */
  readonly publishS: number
  readonly sourceSentMib: number
}

/** One delivery by plain TCP. */
type Baseline = Pick<Delivery, 'wallS' | 'cpuS'>

/** Measures deliveries to 1 and to 4 nodes. */
export default async function delivery(args: string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args,
    options: { size: { type: 'string', default: '256' }, rounds: { type: 'string', default: '3' } }
  })
  return withProcesses(async ({ directory }) => {
    const file = await makeModel(join(directory, 'model.safetensors'), Number(values.size))
    const [to1, to4] = [new Comparison(1), new Comparison(4)]
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const comparison of [to1, to4]) await comparison.measure(file)
    }
    return {
      rows: [to1, to4].flatMap((comparison) => comparison.rows(file.sizeMib)),
      figures: { sizeMib: rounded(file.sizeMib, 1), to1: to1.figures(), to4: to4.figures() }
    }
  })
}

class Comparison {
  readonly #receivers: number
  readonly #deliveries: Delivery[] = []
  readonly #baselines: Baseline[] = []

  constructor(receivers: number) {
    this.#receivers = receivers
  }

  async measure(file: ModelFile): Promise<void> {
    this.#baselines.push(await sendByTcp(file, this.#receivers))
    this.#deliveries.push(await distribute(file, this.#receivers))
  }

  figures(): Record<string, number> {
    const [ours, tcp] = [medians(this.#deliveries), medians(this.#baselines)]
    return {
      wallS: ours.wallS,
      cpuS: ours.cpuS,
      tcpWallS: tcp.wallS,
      tcpCpuS: tcp.cpuS,
      ratio: rounded(ours.wallS / tcp.wallS),
      transferS: ours.transferS,
      publishS: ours.publishS,
      sourceSentMiB: rounded(ours.sourceSentMib, 1)
    }
  }

  rows(sizeMib: number): Row[] {
    const { wallS, cpuS, transferS, publishS, sourceSentMiB, tcpWallS, tcpCpuS, ratio } = this.figures()
    const gib = (sizeMib * this.#receivers) / 1024
    const row = (system: string, wall = 0, cpu = 0): Row => ({
      nodes: this.#receivers,
      system,
      'wall s': wall,
      'CPU s': cpu,
      'CPU s/GiB': rounded(cpu / gib)
    })
    return [
      {
        ...row('plain TCP + sha256', tcpWallS, tcpCpuS),
        'source sent MiB': rounded(sizeMib * this.#receivers, 1),
        'wall s of each round': listed(this.#baselines)
      },
      {
        ...row('murmurate', wallS, cpuS),
        'source sent MiB': sourceSentMiB ?? 0,
        'wall s of each round': listed(this.#deliveries),
        'times TCP': ratio ?? 0,
        'of it transfer s': transferS ?? 0,
        'publish before s': publishS ?? 0
      }
    ]
  }
}

function listed(measurements: readonly Baseline[]): string {
  return measurements.map(({ wallS }) => rounded(wallS)).join(' ')
}

/** The median of every figure, each by itself. */
function medians<Figures extends object>(measurements: readonly Figures[]): { [Name in keyof Figures]: number } {
  const names = Object.keys(measurements[0] ?? {}) as (keyof Figures)[]
  const entries = names.map((name) => [name, rounded(median(measurements.map((figures) => Number(figures[name]))))])
  return Object.fromEntries(entries) as { [Name in keyof Figures]: number }
}

async function makeModel(path: string, sizeMib: number): Promise<ModelFile> {
  await writeSafetensors(path, shapeOf(sizeMib * bytesPerMib))
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return { path, sizeMib: (await stat(path)).size / bytesPerMib, sha256: hash.digest('hex') }
}

/** A shape of this many bytes: an embedding as large as it takes. */
function shapeOf(sizeBytes: number): ModelShape {
  const { layers, hidden } = modelOf(sizeBytes)
  const rowBytes = 2 * hidden
  const layerBytes = 12 * layers * hidden * rowBytes
  return { layers, hidden, vocabulary: Math.floor((sizeBytes - layerBytes) / rowBytes) }
}

/** From the order at the source to its verdict that all have converged; CPU of the source and all receivers. */
function distribute({ path }: ModelFile, receivers: number): Promise<Delivery> {
  return withProcesses(async (processes) => {
    const mesh = await processes.mesh(receivers + 1, { discovery: false })
    const [source, ...others] = mesh
    if (source === undefined) throw new RangeError('The mesh is empty')
    const publishBegin = performance.now()
    await source.child.call('publish', path)
    const publishS = (performance.now() - publishBegin) / 1000
    const { sentBytes } = await source.child.call('usage')
    const ids = others.map(({ id }) => id)
    const children = mesh.map(({ child }) => child)
    const { cpuS, result } = await withCpu(children, () => source.child.call('distribute', ids))
    const sourceSentMib = ((await source.child.call('usage')).sentBytes - sentBytes) / bytesPerMib
    return { ...result, cpuS, publishS, sourceSentMib }
  })
}

/** From the first connection to the last byte written, in receivers that all begin at once. */
function sendByTcp({ path, sha256 }: ModelFile, receivers: number): Promise<Baseline> {
  return withProcesses(async (processes) => {
    const source = processes.tcp()
    const port = await source.call('serve', path)
    const children = Array.from({ length: receivers }, () => processes.tcp())
    await Promise.all(children.map((child) => child.call('usage')))
    const { cpuS, result } = await withCpu([source, ...children], async () => {
      const begin = performance.now()
      const fetches = children.map((child, at) => child.call('fetch', port, join(processes.directory, `${at}`)))
      const hashes = await Promise.all(fetches)
      return { wallS: (performance.now() - begin) / 1000, hashes }
    })
    if (result.hashes.some((hash) => hash !== sha256)) throw new Error('TCP delivered other bytes')
    return { wallS: result.wallS, cpuS }
  })
}

/** The CPU seconds that these processes use while the task runs. */
async function withCpu<T>(
  children: readonly Pick<Child<{ usage: () => Promise<Usage> }>, 'call'>[],
  task: () => Promise<T>
): Promise<{ readonly cpuS: number; readonly result: T }> {
  const cpuOf = async (): Promise<number> =>
    sum((await Promise.all(children.map((child) => child.call('usage')))).map(({ cpuS }) => cpuS))
  const before = await cpuOf()
  const result = await task()
  return { cpuS: (await cpuOf()) - before, result }
}
