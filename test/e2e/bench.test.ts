import '../../src/core/polyfill.js'
import { afterEach, expect, test } from 'vitest'
import { Program } from '../support/program.js'

let program: Program | undefined

afterEach(() => program?.kill())

/** Runs a bench; returns the object in its last line. What the figures are worth a test cannot say. */
async function bench(...args: string[]): Promise<Record<string, unknown>> {
  program = new Program('bench/run.js', { args: [...args, '--json'], deadlineMs: 100_000 })
  const { code, output, errors } = await program.end()
  expect([code, errors]).toEqual([0, ''])
  return JSON.parse(output.trim().split('\n').at(-1) ?? '') as Record<string, unknown>
}

const positive: unknown = expect.toSatisfy((value: unknown) => typeof value === 'number' && value > 0, 'a number > 0')

test('delivery says what it took to 1 and to 4 nodes, beside plain TCP', async () => {
  const names = ['wallS', 'cpuS', 'tcpWallS', 'tcpCpuS', 'ratio', 'transferS', 'publishS', 'sourceSentMiB']
  const figures = Object.fromEntries(names.map((name) => [name, positive]))
  const result = await bench('delivery', '--size', '8', '--rounds', '1')
  expect(result).toEqual({
    bench: 'delivery',
    node: process.version,
    sizeMib: positive,
    to1: figures,
    to4: figures
  })
})

test('idle says what a node at rest costs', async () => {
  // Every link carries a ping within 15 s; in less time there may be no byte to count.
  const result = await bench('idle', '--seconds', '16', '--settle', '0')
  const figures = { rssMb: positive, cpuPercent: positive, bytesPerSecond: positive }
  expect(result).toEqual({ bench: 'idle', node: process.version, ...figures })
})

test('verdict says what a verdict costs after an event and from nothing', async () => {
  const names = ['eventToVerdictUs', 'statusUs', 'presenceUs', 'fullMs', 'rescanMs']
  const figures = Object.fromEntries(names.map((name) => [name, positive]))
  const result = await bench('verdict', '--nodes', '500', '--models', '2')
  expect(result).toEqual({ bench: 'verdict', node: process.version, nodes: 500, models: 2, ...figures })
})

test('an unknown bench is refused, with the names of those there are', async () => {
  program = new Program('bench/run.js', { args: ['nothing'] })
  const { code, errors } = await program.end()
  expect(code).toBe(2)
  expect(errors).toMatch(/benches: .*delivery.*idle/)
})
