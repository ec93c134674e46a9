import { execFile } from 'node:child_process'
import { lstat, readFile, readdir, statfs } from 'node:fs/promises'
import { arch, availableParallelism, totalmem } from 'node:os'
import { join } from 'node:path'
import { withDeadline } from '../core/abort.js'
import type { Clock } from '../core/environment.js'

/** What the probe looks at. Whatever cannot be read is undefined, and no method throws. */
export interface Machine {
  /** The architecture as Node names it: `x64`, `arm64`. */
  arch(): string
  /** CPU cores that this process may run on. */
  cores(): number
  /** RAM of the machine, bytes. */
  memoryBytes(): number
  /** The text of a file. */
  readText(path: string): Promise<string | undefined>
  /** The names in a directory. */
  list(path: string): Promise<readonly string[] | undefined>
  /** What a program prints, if it ends well within the time; else it is killed. */
  run(command: string, args: readonly string[], timeoutMs: number): Promise<string | undefined>
  /** Space that this user may still take on the disk of a directory, bytes. */
  freeBytes(directory: string): Promise<number | undefined>
  /** Disk space of all files below a directory, bytes. */
  usedBytes(directory: string): Promise<number | undefined>
}

/** A killed program that hangs in the kernel does not end: after this time nobody waits for it any more, ms. */
const killGraceMs = 1000

/** The machine that this process runs on. */
export function systemMachine(clock: Clock): Machine {
  return {
    arch,
    cores: availableParallelism,
    memoryBytes: totalmem,
    readText: (path) => orUndefined(readFile(path, 'utf8')),
    list: (path) => orUndefined(readdir(path)),
    run: (command, args, timeoutMs) =>
      orUndefined(withDeadline(clock, timeoutMs + killGraceMs, (signal) => outputOf(command, args, timeoutMs, signal))),
    freeBytes: (directory) => orUndefined(statfs(directory).then(({ bavail, bsize }) => bavail * bsize)),
    usedBytes: (directory) => orUndefined(usedBytes(directory))
  }
}

/** `st_blocks` of stat(2), whatever the file system's own block size. */
const bytesPerBlock = 512

/** Holes take no space. A file that goes away meanwhile takes none either. */
async function usedBytes(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  let sum = 0
  for (const entry of entries) {
    if (!entry.isFile()) continue
    const found = await orUndefined(lstat(join(entry.parentPath, entry.name)))
    sum += (found?.blocks ?? 0) * bytesPerBlock
  }
  return sum
}

function outputOf(command: string, args: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const child = execFile(command, args, { timeout: timeoutMs, killSignal: 'SIGKILL' }, (error, stdout) =>
    error === null ? resolve(stdout) : reject(error)
  )
  // Given up: it does not keep this process either.
  signal.addEventListener('abort', () => child.unref())
  return promise
}

async function orUndefined<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise
  } catch {
    return undefined
  }
}
