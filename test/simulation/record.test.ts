import { expect, test } from 'vitest'
import { problemsOf } from './record-check.js'
import { RecordRun } from './record-run.js'
import { runOf, testStorms } from './storms.js'
import { outcomeOf, summaryOf } from './summary.js'

testStorms(1)

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
