import { afterAll, describe, expect, inject, test } from 'vitest'
import { kinds } from './pages.js'
import { problemsOf } from './record-check.js'
import { RecordRun, type RunInit } from './record-run.js'
import { commandFor, lineOf, outcomeOf, summaryOf, type Outcome } from './summary.js'

/** Twenty anti-entropy rounds of every node. */
const agreementMs = 300_000
/** A mesh of 1000 takes minutes. */
const msPerNode = 3000

/** A whole run, and what came of it. */
export async function runOf(init: RunInit): Promise<[RecordRun, Outcome]> {
  const [started, cpu] = [performance.now(), process.cpuUsage()]
  const run = new RecordRun(init)
  await run.begin()
  await run.storm()
  const agreedAfterMs = await run.agreement(agreementMs)
  const problems = problemsOf(run)
  const entries = kinds.reduce((sum, kind) => sum + [...(run.nodes[0]?.document.all(kind) ?? [])].length, 0)
  const { user, system } = process.cpuUsage(cpu)
  const [wallSeconds, cpuSeconds] = [(performance.now() - started) / 1000, (user + system) / 1e6]
  const outcome = outcomeOf(run, { seed: init.seed, entries, agreedAfterMs, wallSeconds, cpuSeconds, problems })
  await run.end()
  return [run, outcome]
}

/** The tests of every second seed: a file takes the odd ones and another the even ones, so that two cores share them. */
export function testStorms(parity: 0 | 1): void {
  const { nodes, seeds, writes } = inject('simulation')
  const ours = seeds.filter((seed) => seed % 2 === parity)
  // Vitest wants a test in every file.
  if (ours.length === 0) return test.skip('no seed of this half was asked for', () => {})
  const outcomes: Outcome[] = []
  afterAll(() => {
    process.stdout.write(`\n${summaryOf(outcomes, ours.length)}\n`)
  })
  describe.each(ours)('a storm over the record, seed %i', (seed) => {
    test(
      '[REC-47] [SIM-1] [SIM-2] [SIM-3] [SIM-4] [SIM-9] honest nodes agree, nothing is forged or lost, and nothing grows',
      async () => {
        const [, outcome] = await runOf({ seed, nodes, writes })
        outcomes.push(outcome)
        process.stdout.write(`${lineOf(outcome)}\n`)
        expect(outcome.problems, commandFor(seed, nodes)).toEqual([])
        expect(outcome.entries).toBeGreaterThan(0.9 * nodes)
        expect(outcome.attacks).toBeGreaterThan(50)
      },
      60_000 + msPerNode * nodes
    )
  })
}
