/**
 * What a verdict costs: after one event, and from nothing.
 * `npm run bench -- verdict --nodes 10000 --models 5 --json`
 */
import { parseArgs } from 'node:util'
import type { BenchResult } from './run.js'
import { measureVerdict } from './support/verdict.js'

/** What it should cost at most. */
const aims = { eventToVerdictUs: 20, statusUs: 20, presenceUs: 20, fullMs: 15, rescanMs: 15 }

/** Measures verdicts. */
export default function verdict(args: string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args,
    options: { nodes: { type: 'string', default: '10000' }, models: { type: 'string', default: '5' } }
  })
  const [nodes, models] = [Number(values.nodes), Number(values.models)]
  const figures = measureVerdict({ nodes, models })
  return Promise.resolve({
    rows: [figures, aims].map((row, at) => ({ '': at === 0 ? 'measured' : 'aim', ...row })),
    figures: { nodes, models, ...figures }
  })
}
