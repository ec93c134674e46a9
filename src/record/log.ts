/**
 * The append-only file under the shared document.
 *
 * ```
 * file    = frame*
 * frame   = u32be(length of payload) u32be(CRC-32 of payload) payload
 * payload = DAG-CBOR [page id, Yjs V1 update]
 * ```
 * A torn or rotten frame ends the file: it is cut off there when opened, and what stood behind it comes back by
 * anti-entropy. A snapshot is the same file written anew with one frame a page, and renamed into place.
 */
import { mkdir, open, rename, type FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { crc32 } from 'node:zlib'
import { z } from 'zod'
import { decode, encode } from '../core/codec.js'
import { parsePageId, type PageId } from '../core/ids.js'

/** One page update, as it is kept. */
export interface LogRecord {
  readonly page: PageId
  readonly update: Uint8Array
}

const headerBytes = 8
const recordSchema = z.tuple([z.string(), z.instanceof(Uint8Array)])

/** Frames a record for the file. */
function frame(record: LogRecord): Uint8Array {
  const payload = encode([record.page, record.update])
  const bytes = Buffer.allocUnsafe(headerBytes + payload.byteLength)
  bytes.writeUInt32BE(payload.byteLength, 0)
  bytes.writeUInt32BE(crc32(payload), 4)
  bytes.set(payload, headerBytes)
  return bytes
}

/** The crash-safe record log. One process and one instance at a time. */
export class RecordLog {
  readonly #path: string
  #file: FileHandle | undefined
  #size = 0
  #queue: Uint8Array[] = []
  #commit: Promise<void> | undefined
  #failure: { readonly error: unknown } | undefined

  /** @param path - of the file; its directory is made when missing */
  constructor(path: string) {
    this.#path = path
  }

  /** Bytes on disk. */
  get size(): number {
    return this.#size
  }

  /** Opens the file, hands out every intact record and cuts off the rest. */
  async open(onRecord: (record: LogRecord) => void): Promise<void> {
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 })
    const file = await open(this.#path, 'a+', 0o600)
    try {
      const bytes = await file.readFile()
      this.#size = readRecords(bytes, onRecord)
      if (this.#size < bytes.byteLength) await file.truncate(this.#size)
      await syncDirectory(dirname(this.#path))
      this.#file = file
      this.#failure = undefined
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /**
   * Appends a record; resolves when it is on the disk. Records appended while a sync runs share the next one.
   * After a failed write or sync nothing more is taken: what reached the disk is then unknown.
   */
  append(record: LogRecord): Promise<void> {
    this.#queue.push(frame(record))
    return this.flush()
  }

  /** Adds a record to the next sync without asking for one. */
  enqueue(record: LogRecord): void {
    this.#queue.push(frame(record))
  }

  /** Resolves when everything appended so far is on the disk. */
  async flush(): Promise<void> {
    while (this.#queue.length > 0 || this.#commit !== undefined) {
      this.#commit ??= this.#commitQueue().finally(() => (this.#commit = undefined))
      await this.#commit
    }
    if (this.#failure !== undefined) throw this.#failure.error
  }

  /**
   * Replaces the whole file; a crash leaves either the old or the new one. What is appended meanwhile goes to the new
   * file, so the records must cover everything that was appended before.
   */
  async replace(records: readonly LogRecord[]): Promise<void> {
    await this.flush()
    this.#commit = this.#rewrite(records).finally(() => (this.#commit = undefined))
    await this.#commit
  }

  /** Writes what is queued and closes the file. Harmless when never opened. */
  async close(): Promise<void> {
    const file = this.#file
    if (file === undefined) return
    try {
      await this.flush()
    } finally {
      this.#file = undefined
      await file.close()
    }
  }

  async #rewrite(records: readonly LogRecord[]): Promise<void> {
    const draft = `${this.#path}.new`
    const file = await open(draft, 'w', 0o600)
    try {
      this.#size = await writeRecords(file, records)
      await rename(draft, this.#path)
      await syncDirectory(dirname(this.#path))
    } catch (error) {
      await file.close()
      throw error
    }
    await this.#file?.close()
    this.#file = file
  }

  async #commitQueue(): Promise<void> {
    const file = this.#file
    const batch = this.#queue
    this.#queue = []
    if (this.#failure !== undefined || file === undefined) return
    try {
      const bytes = Buffer.concat(batch)
      await file.appendFile(bytes)
      await file.datasync()
      this.#size += bytes.byteLength
    } catch (error) {
      this.#failure = { error }
    }
  }
}

/** Writes records to an empty file and syncs it; returns its size. */
async function writeRecords(file: FileHandle, records: readonly LogRecord[]): Promise<number> {
  let size = 0
  for (const record of records) {
    const bytes = frame(record)
    await file.appendFile(bytes)
    size += bytes.byteLength
  }
  await file.sync()
  return size
}

/** Reads frames until the first bad one; returns the offset behind the last good one. */
function readRecords(bytes: Buffer, onRecord: (record: LogRecord) => void): number {
  let at = 0
  while (at + headerBytes <= bytes.byteLength) {
    const end = at + headerBytes + bytes.readUInt32BE(at)
    if (end > bytes.byteLength) break
    const payload = bytes.subarray(at + headerBytes, end)
    if (crc32(payload) !== bytes.readUInt32BE(at + 4)) break
    const [page, update] = decode(payload, recordSchema, { maxBytes: payload.byteLength, what: 'A record in the log' })
    onRecord({ page: parsePageId(page), update })
    at = end
  }
  return at
}

/** Makes a rename or a new file in a directory durable. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(join(path, '.'), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
