import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { z } from 'zod'
import { inTime, until } from '../support/until.js'

const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

const reportSchema = z.strictObject({
  nodes: z.number(),
  discoveredMs: z.number(),
  full: z.strictObject({
    total: z.number(),
    converged: z.number(),
    excluded: z.number(),
    seconds: z.number(),
    bytesFromSource: z.number(),
    bytesFromPeers: z.number()
  }),
  delta: z.strictObject({ converged: z.number(), bytesPerNode: z.number(), fileBytes: z.number() }),
  failing: z.strictObject({ failed: z.number(), restored: z.number() }),
  blockers: z.array(
    z.looseObject({
      node: z.string(),
      reason: z.string(),
      required: z.number().optional(),
      available: z.number().optional()
    })
  )
})

class Run {
  readonly child: ChildProcessByStdio<null, Readable, Readable>
  readonly exit: Promise<number | null>
  output = ''

  constructor(...args: string[]) {
    this.child = spawn(process.execPath, [cli, 'demo', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [this.child.stdout, this.child.stderr])
      stream.on('data', (data: Buffer) => (this.output += String(data)))
    this.exit = new Promise((resolve) => this.child.once('close', (code) => resolve(code)))
  }
}

/** The demo on a pseudo-terminal that script(1) makes. */
class Terminal {
  readonly child: ChildProcessByStdio<Writable, Readable, null>
  readonly exit: Promise<number | null>
  output = ''

  constructor() {
    const command = `stty rows 40 cols 120; exec ${process.execPath} ${cli} demo`
    this.child = spawn('script', ['-qefc', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'ignore'] })
    this.child.stdout.on('data', (data: Buffer) => (this.output += String(data)))
    this.exit = new Promise((resolve) => this.child.once('close', (code) => resolve(code)))
  }
}

async function demoDirectories(): Promise<string[]> {
  return (await readdir(tmpdir())).filter((name) => name.startsWith('murmurate-demo-'))
}

it('the demo delivers, updates by delta and restores, and says so in one JSON line', async () => {
  const before = await demoDirectories()
  const run = new Run('--json')
  expect(await inTime('the demo', run.exit, 100_000), run.output).toBe(0)
  const report = reportSchema.parse(JSON.parse(run.output.trim().split('\n').at(-1) ?? ''))
  expect(report).toMatchObject({
    nodes: 5,
    full: { total: 4, converged: 3, excluded: 1 },
    delta: { converged: 3 },
    failing: { failed: 3, restored: 3 }
  })
  expect(report.delta.bytesPerNode / report.delta.fileBytes).toBeLessThan(0.2)
  expect(report.delta.bytesPerNode).toBeGreaterThan(0)
  expect(report.full.bytesFromPeers).toBeGreaterThan(0)
  const storage = report.blockers.find(({ reason }) => reason === 'insufficientStorage')
  expect(storage?.available).toBeLessThan(storage?.required ?? 0)
  expect(report.blockers.filter(({ reason }) => reason === 'deploymentFailed')).toHaveLength(3)
  expect(await demoDirectories()).toEqual(before)
})

it('Ctrl-C stops the demo, all its processes and removes its files', async () => {
  const before = await demoDirectories()
  const run = new Run()
  await until('the first rollout', () => run.output.includes('Rollout of 1.0.0'), 60_000)
  const children = await childrenOf(run.child.pid ?? 0)
  expect(children).toHaveLength(5)
  run.child.kill('SIGINT')
  expect(await inTime('the end of the demo', run.exit, 20_000), run.output).toBe(130)
  for (const pid of children) expect(() => process.kill(pid, 0)).toThrow('ESRCH')
  expect(await demoDirectories()).toEqual(before)
})

it('on a terminal, too: while the nodes look for each other, and when a rollout is shown', async () => {
  const before = await demoDirectories()
  for (const moment of ['nodes start, each a process', 'runs 1.0.0']) {
    const run = new Terminal()
    await until(moment, () => run.output.includes(moment), 60_000)
    run.child.stdin.write('\x03')
    expect(await inTime('the end of the demo', run.exit, 20_000), run.output).toBe(130)
    expect(run.output).not.toContain('TypeError')
    expect(await demoDirectories()).toEqual(before)
  }
})

/** Process ids of the children, from /proc/<pid>/task/<pid>/children, proc(5). */
async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.trim().split(' ').map(Number)
}
