import { createHash } from 'node:crypto'
import { link, mkdir, open, readFile, readdir, rm, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Random } from './environment.js'
import { MurmurateError, systemCode } from './errors.js'
import type { Startable } from './lifecycle.js'

const ownerSchema = z.object({ pid: z.int().positive(), startedAt: z.string() })

/** The process that holds a lock. */
type Owner = z.infer<typeof ownerSchema>

/** A claim to the lock of a dead owner: `lock.claim.<hash of that lock>`. */
const claimPattern = /^lock\.claim\.[0-9a-f]{16}$/

/**
 * Makes sure that one process at a time runs on a directory. The lock is a file with the process id and, on Linux,
 * when that process was started, so that a process that died without unlocking, or whose id another one has by now,
 * locks nobody out. Installs no signal handler and needs no timer.
 *
 * Only one process may remove the lock of a dead one, or it could remove the lock that another has just taken. Who may
 * is settled by a claim file whose name is the hash of the dead lock: it can be made once, and a lock is never the same
 * twice. A claimant that dies leaves a claim that is claimed in turn.
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
    const nonce = Buffer.from(this.#random.bytes(8)).toString('hex')
    const draft = `${this.#path}.draft.${nonce}`
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 })
      await writeNew(draft, JSON.stringify({ pid: process.pid, startedAt: await startOf(process.pid), nonce }))
      await this.#take(draft)
      this.#isHeld = true
      await this.#removeClaims().catch(() => {})
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
    await rm(this.#path, { force: true })
  }

  get #path(): string {
    return join(this.#directory, 'lock')
  }

  async #take(draft: string): Promise<void> {
    const claims: string[] = []
    try {
      while (!(await linkNew(draft, this.#path))) {
        const dead = await this.#readDead(this.#path)
        if (dead === undefined) continue
        claims.push(await this.#claim(draft, dead))
        // Whoever had the claim before may have finished: then the lock is another one by now.
        if ((await this.#readDead(this.#path)) === dead) await unlink(this.#path)
      }
    } catch (error) {
      await removeOwn(claims, draft)
      throw error
    }
  }

  /** Gains the right to remove a dead owner's lock; returns the file that says so. */
  async #claim(draft: string, dead: string): Promise<string> {
    for (let claimed = dead; ;) {
      const digest = createHash('sha256').update(claimed).digest('hex').slice(0, 16)
      const path = `${this.#path}.claim.${digest}`
      if (await linkNew(draft, path)) return path
      const claimant = await this.#readDead(path)
      if (claimant !== undefined) claimed = `${claimed} ${claimant}`
    }
  }

  /** A lock file whose owner is dead; undefined when it is gone. @throws MurmurateError `DATA_DIR_IN_USE` */
  async #readDead(path: string): Promise<string | undefined> {
    const text = await readIfThere(path)
    const owner = text === undefined ? undefined : parseOwner(text)
    if (owner === undefined || !(await isAlive(owner))) return text
    throw new MurmurateError('DATA_DIR_IN_USE', `Process ${owner.pid} runs on the data directory ${this.#directory}`, {
      details: { path: this.#directory, pid: owner.pid }
    })
  }

  /** Whoever still wants one of these finds the lock held by a living process. */
  async #removeClaims(): Promise<void> {
    for (const name of await readdir(this.#directory)) {
      if (claimPattern.test(name)) await rm(join(this.#directory, name), { force: true })
    }
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

/** Whoever claimed and then found the lock taken gives the claim back: alive, it would stop all others after the next crash. */
async function removeOwn(claims: readonly string[], draft: string): Promise<void> {
  const own = await readIfThere(draft)
  for (const path of claims) if ((await readIfThere(path)) === own) await rm(path, { force: true })
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Undefined for what a power cut left of a lock file: nobody holds it. */
function parseOwner(text: string): Owner | undefined {
  try {
    return ownerSchema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

async function isAlive({ pid, startedAt }: Owner): Promise<boolean> {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (systemCode(error) !== 'EPERM') return false
  }
  const start = await startOf(pid)
  return start !== 'dead' && (start === '' || startedAt === '' || start === startedAt)
}

/**
 * When a process was started, in clock ticks since boot: field 22 of /proc/<pid>/stat, proc(5). Empty where that file
 * cannot be read; `dead` for one that ended and that its parent has not asked after yet.
 */
async function startOf(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? 'dead' : (fields[19] ?? '')
  } catch {
    return ''
  }
}
