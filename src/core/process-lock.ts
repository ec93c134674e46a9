import { link, mkdir, open, readFile, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Random } from './environment.js'
import { MurmurateError, systemCode } from './errors.js'
import type { Startable } from './lifecycle.js'

const ownerSchema = z.object({ pid: z.int().positive(), startedAt: z.string() })

/** The process that holds a lock. */
type Owner = z.infer<typeof ownerSchema>

/**
 * Makes sure that one process at a time runs on a directory. The lock is a file with the process id and, on Linux,
 * when that process was started, so that a process that died without unlocking, or whose id another one has by now,
 * locks nobody out. Installs no signal handler and needs no timer.
 */
export class ProcessLock implements Startable {
  readonly #directory: string
  readonly #random: Random
  #isHeld = false

  constructor(directory: string, random: Random) {
    this.#directory = directory
    this.#random = random
  }

  /**
   * Takes the lock; makes the directory when it is missing.
   *
   * @throws MurmurateError `DATA_DIR_IN_USE` with the owner's pid, `DATA_DIR_UNREADABLE`
   */
  async start(): Promise<void> {
    if (this.#isHeld) return
    const draft = join(this.#directory, `lock.${Buffer.from(this.#random.bytes(6)).toString('hex')}`)
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 })
      await writeNew(draft, JSON.stringify({ pid: process.pid, startedAt: await startOf(process.pid) }))
      await this.#take(draft)
      this.#isHeld = true
    } catch (cause) {
      if (cause instanceof MurmurateError) throw cause
      const message = `The data directory ${this.#directory} cannot be used`
      throw new MurmurateError('DATA_DIR_UNREADABLE', message, { details: { path: this.#directory }, cause })
    } finally {
      await unlink(draft).catch(() => {})
    }
  }

  /** Gives the lock back. */
  async stop(): Promise<void> {
    if (!this.#isHeld) return
    this.#isHeld = false
    await unlink(this.#path)
  }

  get #path(): string {
    return join(this.#directory, 'lock')
  }

  async #take(draft: string): Promise<void> {
    if (await linkNew(draft, this.#path)) return
    await this.#refuseIfAlive(this.#path)
    // Only who holds the takeover lock may replace a dead owner's lock, so that two cannot both do it.
    const takeover = `${this.#path}.takeover`
    if (!(await linkNew(draft, takeover))) {
      await this.#refuseIfAlive(takeover)
      await unlink(takeover)
      return this.#take(draft)
    }
    try {
      await this.#refuseIfAlive(this.#path)
      await rename(draft, this.#path)
    } finally {
      await unlink(takeover)
    }
  }

  async #refuseIfAlive(path: string): Promise<void> {
    const owner = await readOwner(path)
    if (owner === undefined || !(await isAlive(owner))) return
    throw new MurmurateError('DATA_DIR_IN_USE', `Process ${owner.pid} runs on the data directory ${this.#directory}`, {
      details: { path: this.#directory, pid: owner.pid }
    })
  }
}

async function writeNew(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(text)
  } finally {
    await file.close()
  }
}

/** Gives a file a second name unless that name exists; atomic. */
async function linkNew(existing: string, name: string): Promise<boolean> {
  try {
    await link(existing, name)
    return true
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false
    throw error
  }
}

async function readOwner(path: string): Promise<Owner | undefined> {
  try {
    return ownerSchema.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (error) {
    if (systemCode(error) === 'EACCES') throw error
    // Gone meanwhile, or written by a process that died while writing: nobody holds it.
    return undefined
  }
}

async function isAlive({ pid, startedAt }: Owner): Promise<boolean> {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return systemCode(error) === 'EPERM'
  }
  return startedAt === (await startOf(pid))
}

/** When a process was started, in clock ticks since boot: field 22 of /proc/<pid>/stat, proc(5). Empty elsewhere. */
async function startOf(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}
