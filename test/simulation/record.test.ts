import { afterAll, describe, expect, inject, test } from 'vitest'
import { kinds } from './pages.js'
import { problemsOf } from './record-check.js'
import { RecordRun } from './record-run.js'
import { commandFor, lineOf, outcomeOf, summaryOf, type Outcome } from './summary.js'

const { nodes, seeds, writes } = inject('simulation')
/** Twenty anti-entropy rounds of every node. */
const agreementMs = 300_000
/** A mesh of 1000 takes minutes. */
const timeoutMs = 60_000 + 3000 * nodes

const outcomes: Outcome[] = []
afterAll(() => {
  process.stdout.write(`\n${summaryOf(outcomes, seeds.length)}\n`)
})

/** A whole run, and its digest. */
async function runOf(init: { seed: number; nodes: number; writes: number }): Promise<[RecordRun, Outcome]> {
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

describe.each(seeds)('a storm over the record, seed %i', (seed) => {
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
    timeoutMs
  )
})

test('[SIM-5] the same seed gives the same run to the last event, another seed another one', async () => {
  const digestOf = async (seed: number): Promise<string> => {
    const [run] = await runOf({ seed, nodes: 12, writes: 24 })
    return run.operations.digest()
  }
  const first = await digestOf(7)
  expect(await digestOf(7)).toBe(first)
  expect(await digestOf(8)).not.toBe(first)
})

test('[SIM-7] a run that fails names the page, the writers and what they did, and how to see it again', async () => {
  const run = new RecordRun({ seed: 5, nodes: 12, writes: 60 })
  await run.begin()
  await run.storm()
  // Just healed: the parts of the mesh have not yet heard of each other.
  const problems = problemsOf(run)
  const rest = { seed: 5, entries: 0, agreedAfterMs: undefined, wallSeconds: 0, cpuSeconds: 0, problems }
  const summary = summaryOf([outcomeOf(run, rest)], 1)
  const [, writer] = /differ on \w+\/\d+, in the entries of (\w+)/.exec(problems.join('\n')) ?? []
  await run.end()
  expect(problems[0]).toMatch(/^\d+ different documents, held by /)
  const operations = problems.filter((line) => / s (hostile )?\d+ /.test(line) && line.includes(String(writer)))
  expect(operations.length).toBeGreaterThan(0)
  expect(summary).toContain('npm run simulate -- --nodes 12 --seed 5')
  expect(summary).toMatch(/\n0 passed, 1 failed$/)
})
