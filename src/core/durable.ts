import { link, mkdir, open, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Random } from './environment.js'
import { MurmurateError, messageOf, systemCode } from './errors.js'

/** The system's codes for a full disk, a full quota and no more inodes. */
const fullCodes: readonly (string | undefined)[] = ['ENOSPC', 'EDQUOT']

/** Makes new files and renames in a directory survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(join(path, '.'), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** What a failed system call on a file of the data directory means: `INSUFFICIENT_STORAGE` or `DATA_DIR_UNREADABLE`. */
export function diskError(path: string, cause: unknown): MurmurateError {
  if (cause instanceof MurmurateError) return cause
  const code = fullCodes.includes(systemCode(cause)) ? 'INSUFFICIENT_STORAGE' : 'DATA_DIR_UNREADABLE'
  return new MurmurateError(code, `${path}: ${messageOf(cause)}`, { details: { path }, cause })
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
    throw diskError(path, cause)
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
