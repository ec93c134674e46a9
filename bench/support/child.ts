import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

/** What a child process can be asked, by name. Both ends are the same program, so the types hold on either side. */
export type CallTable = Record<string, (...params: never[]) => Promise<unknown>>

interface Request {
  readonly id: number
  readonly method: string
  readonly params: unknown[]
}

interface Reply {
  readonly id: number
  readonly result?: unknown
  readonly error?: string
}

/** A child that does not end when asked is killed after this time, ms. */
const stopTimeoutMs = 10_000
/** No call of a bench takes longer than this, ms. */
const callTimeoutMs = 600_000

/** The bench's end of a child process that answers calls. */
export class Child<Calls extends CallTable> {
  readonly #process: ChildProcess
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>()
  #nextId = 1

  /**
   * @param script - a compiled file that calls `answer`
   * @param execArgv - options for Node itself
   */
  constructor(script: URL, execArgv: readonly string[] = []) {
    this.#process = fork(script, { execArgv: [...execArgv], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.#process.on('message', (reply: Reply) => this.#receive(reply))
    this.#process.on('exit', (code, signal) => {
      const error = new Error(`a process of the bench ended (${signal ?? code})`)
      for (const { reject } of this.#pending.values()) reject(error)
    })
  }

  /** Calls a function in the child. */
  async call<Name extends keyof Calls & string>(
    method: Name,
    ...params: Parameters<Calls[Name]>
  ): Promise<Awaited<ReturnType<Calls[Name]>>> {
    const id = this.#nextId++
    const pending = Promise.withResolvers<unknown>()
    this.#pending.set(id, pending)
    const timer = setTimeout(() => pending.reject(new Error(`${method} did not end in time`)), callTimeoutMs)
    this.#process.send({ id, method, params } satisfies Request)
    try {
      return (await pending.promise) as Awaited<ReturnType<Calls[Name]>>
    } finally {
      clearTimeout(timer)
      this.#pending.delete(id)
    }
  }

  /** Ends the process: it stops what it runs when its parent is gone. */
  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exited = once(this.#process, 'exit')
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), stopTimeoutMs)
    this.#process.disconnect()
    await exited
    clearTimeout(timer)
  }

  #receive({ id, result, error }: Reply): void {
    if (error === undefined) this.#pending.get(id)?.resolve(result)
    else this.#pending.get(id)?.reject(new Error(error))
  }
}

/** The child's end: answers calls until the parent is gone, then runs `end` and exits. */
export function answer(calls: CallTable, end: () => Promise<void> = () => Promise.resolve()): void {
  process.on('message', (request: Request) => void reply(calls, request))
  process.on('disconnect', () => void end().finally(() => process.exit()))
}

async function reply(calls: CallTable, { id, method, params }: Request): Promise<void> {
  try {
    const call = calls[method] as (...params: unknown[]) => Promise<unknown>
    process.send?.({ id, result: await call(...params) } satisfies Reply)
  } catch (error) {
    process.send?.({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
  }
}
