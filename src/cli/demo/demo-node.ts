import { fork, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { withDeadline } from '../../core/abort.js'
import { systemEnvironment } from '../../core/environment.js'
import { MurmurateError } from '../../core/errors.js'
import type { DemoCalls, DemoEvent, DemoMethod, DemoNodeInit, DemoReply, DemoRequest } from './messages.js'

const defaultScript = fileURLToPath(new URL('./node-process.js', import.meta.url))
/** A node that does not stop when asked is killed after this time, ms. */
const stopTimeoutMs = 5000

/** The parent's end of one node process. */
export class DemoNode {
  readonly name: string
  readonly #child: ChildProcess
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>()
  readonly #listeners = new Set<(event: DemoEvent) => void>()
  /** Resolves when the process has ended. */
  readonly exited: Promise<void>
  #nextId = 1

  /** @param script - the compiled `node-process.js` */
  constructor(name: string, script = defaultScript) {
    this.name = name
    // Detached: Ctrl-C at a terminal reaches the whole group, and the parent decides when its nodes stop.
    this.#child = fork(script, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], detached: true })
    this.#child.on('message', (reply: DemoReply) => this.#receive(reply))
    this.exited = new Promise((resolve) => this.#child.once('exit', () => resolve()))
    this.#child.on('exit', (code, signal) => {
      const error = new MurmurateError('INTERNAL', `The process of node ${name} ended (${signal ?? code})`)
      for (const { reject } of this.#pending.values()) reject(error)
      this.#pending.clear()
    })
  }

  /** The process, for who wants to do it harm. */
  get pid(): number | undefined {
    return this.#child.pid
  }

  /** Starts the node in its process. */
  async start(init: DemoNodeInit): Promise<DemoCalls['start']['result']> {
    return this.call('start', init)
  }

  /** Asks the node for something. */
  call<M extends DemoMethod>(method: M, params: DemoCalls[M]['params']): Promise<DemoCalls[M]['result']> {
    const id = this.#nextId++
    const pending = Promise.withResolvers<unknown>()
    this.#pending.set(id, pending)
    const request: DemoRequest = { id, method, params }
    this.#child.send(request, (error) => {
      if (error !== null) pending.reject(error)
    })
    // The child is the same program: what it returns fits the method.
    return pending.promise as Promise<DemoCalls[M]['result']>
  }

  /** Hears what the node tells unasked. */
  onEvent(listener: (event: DemoEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Stops the node, then its process; in the end by force. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const { clock } = systemEnvironment
    try {
      await withDeadline(clock, stopTimeoutMs, () => this.call('stop', null))
      this.#child.disconnect()
      await withDeadline(clock, stopTimeoutMs, () => this.exited)
    } catch {
      this.#child.kill('SIGKILL')
      await this.exited
    }
  }

  #receive(reply: DemoReply): void {
    if ('event' in reply) {
      for (const listener of this.#listeners) listener(reply)
      return
    }
    const pending = this.#pending.get(reply.id)
    this.#pending.delete(reply.id)
    if ('error' in reply) pending?.reject(new MurmurateError(reply.error.code, reply.error.message))
    else pending?.resolve(reply.result)
  }
}
