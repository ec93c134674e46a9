import { basename } from 'node:path'
import { spawn, type ChildProcess } from 'node:child_process'
import { abortedError, throwIfAborted, type AbortOptions } from '../core/abort.js'
import { MurmurateError, messageOf } from '../core/errors.js'

/** A command with its arguments; no shell reads them. */
export type Command = readonly [file: string, ...args: string[]]

/** How a command is run. */
export interface CommandOptions extends AbortOptions {
  /** Variables added to those of this process. */
  readonly env: Readonly<Record<string, string>>
  /** It is killed after this time, ms. */
  readonly timeoutMs: number
}

/** How much of a failed command's output goes into the error: the end, where the reason stands. */
const outputLength = 300
/** What a command wrote last is waited for at most this long after its end, ms: what it left running may never close the pipe. */
const outputEndMs = 500

/**
 * Runs a command to its end. When it overruns its time, or the signal fires, it is killed with all that it started.
 *
 * @throws MurmurateError `HOOK_FAILED` when it cannot be run, overruns its time or ends with a code other than 0; `ABORTED`
 */
export async function runCommand([file, ...args]: Command, options: CommandOptions): Promise<void> {
  const { env, timeoutMs, signal } = options
  throwIfAborted(signal)
  const isGroup = process.platform !== 'win32'
  const child = spawn(file, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own, so that what it starts can be killed with it.
    detached: isGroup
  })
  const output = new Tail(child)
  const timeout = AbortSignal.timeout(timeoutMs)
  const kill = (): void => killAll(child, isGroup)
  timeout.addEventListener('abort', kill)
  signal?.addEventListener('abort', kill)
  try {
    const how = await outcomeOf(child)
    if (how === undefined) return
    if (signal?.aborted === true) throw abortedError(signal)
    await output.end
    const problem = timeout.aborted ? `did not end within ${timeoutMs} ms` : how
    throw new MurmurateError('HOOK_FAILED', `The command ${basename(file)} ${problem}${output.text}`, {
      details: { command: file, output: output.text.slice(2) }
    })
  } finally {
    timeout.removeEventListener('abort', kill)
    signal?.removeEventListener('abort', kill)
    // What it left running may hold the pipes for ever.
    child.stdout?.destroy()
    child.stderr?.destroy()
  }
}

/** Undefined when it ended well, else what went wrong. */
function outcomeOf(child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    child.on('error', (error) => resolve(`could not be run: ${messageOf(error)}`))
    child.on('exit', (code, signal) => resolve(code === 0 ? undefined : `failed with ${signal ?? `code ${code}`}`))
  })
}

function killAll(child: ChildProcess, isGroup: boolean): void {
  if (child.pid === undefined) return
  try {
    if (isGroup) process.kill(-child.pid, 'SIGKILL')
    else child.kill('SIGKILL')
  } catch {
    // It has ended already.
  }
}

/** The end of what a command writes. */
class Tail {
  readonly #closed: Promise<void>
  #text = ''

  constructor(child: ChildProcess) {
    this.#closed = new Promise((resolve) => child.once('close', () => resolve()))
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8')
      stream?.on('data', (text: string) => (this.#text = (this.#text + text).slice(-outputLength)))
    }
  }

  /** Resolves when all has been read. */
  get end(): Promise<void> {
    const late = new Promise<void>((resolve) => {
      AbortSignal.timeout(outputEndMs).addEventListener('abort', () => resolve())
    })
    return Promise.race([this.#closed, late])
  }

  /** Ready to follow a sentence; empty when nothing was written. */
  get text(): string {
    const text = this.#text.trim()
    return text === '' ? '' : `: ${text}`
  }
}
