import { spawn, type ChildProcessByStdio } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { inTime } from './until.js'

const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const runs = new Set<Run>()

/** A run of the command line in a process of its own, and what it has printed so far. */
export class Run {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly exit: Promise<number | null>
  /** stdout and stderr. */
  output = ''
  /** stdout alone. */
  result = ''

  constructor(...args: string[]) {
    this.child = spawn(process.execPath, [cli, ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
    this.child.stdout.on('data', (data: Buffer) => (this.result += String(data)))
    for (const stream of [this.child.stdout, this.child.stderr])
      stream.on('data', (data: Buffer) => (this.output += String(data)))
    this.exit = new Promise((resolve) => this.child.once('close', (code) => resolve(code)))
    runs.add(this)
  }

  /** Waits for its end; a failure shows what it printed. */
  async ends(exitCode: number): Promise<this> {
    const code = await inTime(
      `the end of ${this.child.spawnargs.slice(2).join(' ')}:\n${this.output}`,
      this.exit,
      60_000
    )
    if (code === exitCode) return this
    throw new Error(`exit code ${code} instead of ${exitCode}:\n${this.output}`)
  }
}

/** Everything that all runs so far have printed. */
export function allOutput(): string {
  return [...runs].map(({ output }) => output).join('\n')
}

/** Leaves nothing behind, however the test went. */
export function killRuns(): void {
  for (const run of runs) run.child.kill('SIGKILL')
  runs.clear()
}
