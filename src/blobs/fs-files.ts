/** Small file operations that survive a power cut. */
import { mkdir, open, readdir, rename, unlink, type FileHandle } from 'node:fs/promises'
import { systemCode } from '../core/errors.js'

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
