import { open, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
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
