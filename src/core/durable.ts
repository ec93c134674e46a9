import { link, mkdir, open, statfs, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Random } from './environment.js'
import { MurmurateError, messageOf, systemCode } from './errors.js'

/** The system's codes for a full disk, a full quota and no more inodes. */
const fullCodes: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT'])

/** Makes new files and renames in a directory survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(join(path, '.'), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** Free bytes of the file system that a directory is on, for an ordinary user. */
export async function freeDiskBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}

/** The error for space that is missing. */
export function insufficientStorage(
  requiredBytes: number,
  availableBytes: number,
  { path, cause }: { readonly path?: string; readonly cause?: unknown } = {}
): MurmurateError {
  const message = `${requiredBytes} bytes are needed and ${availableBytes} are available`
  const details = { requiredBytes, availableBytes, ...(path === undefined ? {} : { path }) }
  return new MurmurateError('INSUFFICIENT_STORAGE', message, { details, cause })
}

/**
 * What a failed system call on a file of the data directory means: `INSUFFICIENT_STORAGE`, with what was needed and what there
 * is, or `DATA_DIR_UNREADABLE`.
 *
 * @param requiredBytes - of what was to be written there
 */
export async function diskError(cause: unknown, path: string, requiredBytes: number): Promise<MurmurateError> {
  if (cause instanceof MurmurateError) return cause
  const code = systemCode(cause)
  if (code !== undefined && fullCodes.has(code)) {
    const available = await freeDiskBytes(dirname(path)).catch(() => 0)
    return insufficientStorage(requiredBytes, available, { path, cause })
  }
  return new MurmurateError('DATA_DIR_UNREADABLE', `${path}: ${messageOf(cause)}`, { details: { path, code }, cause })
}

/**
 * Makes a file of mode 0600, in directories of mode 0700 where they are missing. It appears whole or not at all, survives a
 * power cut, and leaves the file of whoever was first. Resolves to whether it was made.
 *
 * @throws MurmurateError `INSUFFICIENT_STORAGE`, `DATA_DIR_UNREADABLE`
 */
export async function createFile(path: string, content: Uint8Array | string, random: Random): Promise<boolean> {
  const draft = `${path}.${Buffer.from(random.bytes(6)).toString('hex')}`
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const isMade = await linkDraft(draft, path, content)
    await syncDirectory(dirname(path))
    return isMade
  } catch (cause) {
    throw await diskError(cause, path, Buffer.byteLength(content))
  }
}

async function linkDraft(draft: string, path: string, content: Uint8Array | string): Promise<boolean> {
  try {
    await writeDraft(draft, content)
    await link(draft, path)
    return true
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false
    throw error
  } finally {
    await unlink(draft).catch(() => {})
  }
}

async function writeDraft(path: string, content: Uint8Array | string): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(content)
    await file.sync()
  } finally {
    await file.close()
  }
}
