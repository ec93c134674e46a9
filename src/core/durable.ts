import { open } from 'node:fs/promises'
import { join } from 'node:path'
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
