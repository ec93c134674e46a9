/** Small file operations that survive a power cut, and their errors in our words. */
import { mkdir, open, readdir, rename, statfs, unlink, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { MurmurateError, messageOf, systemCode } from '../core/errors.js'
import { insufficientStorage } from './blob-store.js'

const fullDisk = new Set(['ENOSPC', 'EDQUOT'])

/** Free bytes of the file system that a directory is on, for an ordinary user. */
export async function freeDiskBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}

/** Turns an error of the file system into ours: `INSUFFICIENT_STORAGE` or `DATA_DIR_UNREADABLE`. */
export async function diskError(cause: unknown, path: string, requiredBytes: number): Promise<MurmurateError> {
  if (cause instanceof MurmurateError) return cause
  const code = systemCode(cause)
  if (code !== undefined && fullDisk.has(code)) {
    const available = await freeDiskBytes(dirname(path)).catch(() => 0)
    return insufficientStorage(requiredBytes, available, cause)
  }
  return new MurmurateError('DATA_DIR_UNREADABLE', `${path}: ${messageOf(cause)}`, { details: { path, code }, cause })
}

/** Creates directories that only this user can enter. */
export async function makeDirectories(...directories: readonly string[]): Promise<void> {
  for (const directory of directories) await mkdir(directory, { recursive: true, mode: 0o700 })
}

/** Writes a small file so that after a crash it has either the old or the new content. */
export async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const draft = `${path}.tmp`
  const handle = await open(draft, 'w', 0o600)
  try {
    await handle.writeFile(bytes)
    await handle.datasync()
  } finally {
    await handle.close()
  }
  await rename(draft, path)
}

/** Removes a file; fine when it is not there. */
export async function removeIfThere(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}

/** The names in a directory, without drafts that a crash left behind: those are removed. */
export async function listWithoutDrafts(directory: string): Promise<readonly string[]> {
  const names = await readdir(directory)
  const drafts = names.filter((name) => name.endsWith('.tmp'))
  for (const name of drafts) await removeIfThere(`${directory}/${name}`)
  return names.filter((name) => !name.endsWith('.tmp'))
}

/** Writes all bytes at a position. */
export async function writeFully(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0
  while (done < bytes.byteLength) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done, position + done)
    done += bytesWritten
  }
}

/** Reads bytes at a position; fewer only when the file ends. */
export async function readFully(handle: FileHandle, length: number, position: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(length)
  let done = 0
  while (done < length) {
    const { bytesRead } = await handle.read(bytes, done, length - done, position + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return bytes.subarray(0, done)
}
