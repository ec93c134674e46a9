/**
 * Which chunks of a part were written lately, kept without syncs: after a `kill -9` (not a power cut) the system still has
 * both the data and these notes, so the chunks need only be hashed again, not fetched. A note is a hint, never trusted.
 * Form: chunk numbers, u32 big-endian, in the order of writing.
 */
import { open, readFile, type FileHandle } from 'node:fs/promises'
import { equalBytes } from '../core/codec.js'
import { systemCode } from '../core/errors.js'
import type { Bitfield } from './bitfield.js'
import type { ChunkList } from './chunk-list.js'
import { digestOf } from './cid.js'
import { removeIfThere } from './fs-files.js'

const noteBytes = 4

/** Takes notes, one write at a time: what comes while one is under way goes into the next. */
export class RecentChunks {
  readonly #path: string
  #handle: Promise<FileHandle> | undefined
  #queue: number[] = []
  #writing: Promise<void> | undefined

  constructor(path: string) {
    this.#path = path
  }

  /** Notes a chunk whose data was just written. A note that cannot be written costs a fetch after a crash, nothing else. */
  note(chunk: number): void {
    this.#queue.push(chunk)
    this.#writing ??= this.#write()
      .catch(() => {})
      .finally(() => (this.#writing = undefined))
  }

  /** Lets go of the file. */
  async close(): Promise<void> {
    await this.#writing
    const handle = await this.#handle?.catch(() => undefined)
    this.#handle = undefined
    await handle?.close()
  }

  /** Forgets all notes: the journal says the same, or the part is gone. */
  async remove(): Promise<void> {
    await this.close()
    await removeIfThere(this.#path)
  }

  async #write(): Promise<void> {
    this.#handle ??= open(this.#path, 'a', 0o600)
    const handle = await this.#handle
    while (this.#queue.length > 0) {
      const notes = Buffer.alloc(this.#queue.length * noteBytes)
      for (const [at, chunk] of this.#queue.entries()) notes.writeUInt32BE(chunk, at * noteBytes)
      this.#queue = []
      await handle.appendFile(notes)
    }
  }
}

/** Adds to `held` the chunks that the notes name and whose data in the part is what it should be. */
export async function addRecent(notesPath: string, partPath: string, chunks: ChunkList, held: Bitfield): Promise<void> {
  const noted = (await readNotes(notesPath)).filter((chunk) => chunk < chunks.count && !held.has(chunk))
  if (noted.length === 0) return
  const part = await open(partPath, 'r')
  try {
    for (const chunk of noted) {
      const bytes = Buffer.allocUnsafe(chunks.length(chunk))
      const { bytesRead } = await part.read(bytes, 0, bytes.byteLength, chunks.offset(chunk))
      if (bytesRead === bytes.byteLength && equalBytes(digestOf(bytes), chunks.digest(chunk))) held.set(chunk)
    }
  } finally {
    await part.close()
  }
}

async function readNotes(path: string): Promise<readonly number[]> {
  try {
    const notes = await readFile(path)
    return Array.from({ length: Math.floor(notes.byteLength / noteBytes) }, (_, at) =>
      notes.readUInt32BE(at * noteBytes)
    )
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  }
}
