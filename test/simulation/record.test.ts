import { expect, inject, test } from 'vitest'
import { RecordRun } from './record-run.js'

const { nodes } = inject('simulation')

test.each(inject('simulation').seeds)('[REC-47] honest nodes agree after a storm, seed %i', async (seed) => {
  const started = performance.now()
  const run = new RecordRun({ seed, nodes, writes: 2 * nodes })
  await run.begin()
  const t1 = performance.now()
  await run.storm()
  const t2 = performance.now()
  const agreedMs = await run.agreement(300_000)
  const t3 = performance.now()
  const [one] = run.nodes
  const missing = run.ledger.missing((page, writer) => one?.document.entry({} as never, page, writer))
  console.log(seed, 'begin', t1 - started, 'storm', t2 - t1, 'heal', t3 - t2, 'agreed', agreedMs, run.mesh.hub.carried, run.refusals,
   run.sentBytes / run.nodes.length, missing, run.ledger.violations, process.memoryUsage().heapUsed / 1e6, process.memoryUsage().rss / 1e6, run.operations.digest())
  expect(agreedMs).toBeDefined()
  await run.end()
}, 3_000_000)
