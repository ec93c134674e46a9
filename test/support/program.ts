import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { withDeadline } from '../../src/core/abort.js'
import { systemEnvironment } from '../../src/core/environment.js'

/** How a program ended. */
export interface ProgramEnd {
  readonly code: number | null
  readonly output: string
  readonly errors: string
}

/** Options of starting a program. */
export interface ProgramOptions {
  readonly args?: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  /** How long to wait for a line or for its end, ms. @default 60000 */
  readonly deadlineMs?: number
}

/** A compiled script that runs in a process of its own, and what it has printed so far. */
export class Program {
  readonly #child: ChildProcess
  readonly #name: string
  readonly #deadlineMs: number
  readonly #listeners = new Set<() => void>()
  readonly #closed: Promise<unknown[]>
  #output = ''
  #errors = ''

  /** @param script - below `.build`, which `npm run build:bench` makes */
  constructor(script: string, { args = [], env = {}, deadlineMs = 60_000 }: ProgramOptions = {}) {
    const path = fileURLToPath(new URL(`../../.build/${script}`, import.meta.url))
    this.#name = script
    this.#deadlineMs = deadlineMs
    this.#child = spawn(process.execPath, [path, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env }
    })
    this.#closed = once(this.#child, 'close')
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#hear(text))
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#errors += text))
  }

  /** Waits until what was printed matches; returns the match. */
  printed(pattern: RegExp): Promise<RegExpExecArray> {
    const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>()
    const look = (): void => {
      const match = pattern.exec(this.#output)
      if (match !== null) resolve(match)
    }
    this.#listeners.add(look)
    void this.#closed.then(() => reject(new Error(`${this.#name} ended before ${pattern}:\n${this.#report}`)))
    look()
    return this.#inTime(`${pattern}`, promise).finally(() => this.#listeners.delete(look))
  }

  /** Asks it to end. */
  signal(name: 'SIGINT' | 'SIGTERM'): void {
    this.#child.kill(name)
  }

  /** Waits for its end. */
  async end(): Promise<ProgramEnd> {
    await this.#inTime('its end', this.#closed)
    return { code: this.#child.exitCode, output: this.#output, errors: this.#errors }
  }

  /** Leaves nothing behind, however the test went. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#closed
  }

  get #report(): string {
    return `${this.#output}\n${this.#errors}`
  }

  #hear(text: string): void {
    this.#output += text
    for (const listener of this.#listeners) listener()
  }

  /** A failure names the program and shows what it printed. */
  async #inTime<T>(what: string, promise: Promise<T>): Promise<T> {
    try {
      const task = (): Promise<T> => promise
      return await withDeadline(systemEnvironment.clock, this.#deadlineMs, task, { what: `${this.#name}: ${what}` })
    } catch (error) {
      throw new Error(`${String(error)}\n${this.#report}`, { cause: error })
    }
  }
}
