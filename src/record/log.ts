/**
 * The append-only file under the shared document.
 *
 * ```
 * file    = frame*
 * frame   = u32be(length of payload) u32be(CRC-32 of payload) payload
 * payload = DAG-CBOR [page id, Yjs V1 update, mac]
 * mac     = the first 16 bytes of HMAC-SHA256(key of this node, page id %x00 update)
 * ```
 * Only what was verified is put in, so a record whose MAC is right need not be verified again when it is read. The key is
 * made from the node's own: who can read that one can sign as this node anyway. A record whose MAC is missing or wrong (of
 * another node, of an older version) is handed out all the same, as not verified.
 *
 * A torn or rotten frame ends the file: it is cut off there when opened, and what stood behind it comes back by
 * anti-entropy. A frame without payload is a bad one: a power cut can leave zeros at the end. A snapshot is the same file written anew with one frame a page, and renamed into place.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { z } from 'zod'
import { decode, encode } from '../core/codec.js'
import { diskError, syncDirectory } from '../core/durable.js'
import { errorCode, MurmurateError } from '../core/errors.js'
import { parsePageId } from '../core/ids.js'
import type { EntryLog, LogRecord } from './entry-log.js'

const headerBytes = 8
const macBytes = 16
const bytes = z.instanceof(Uint8Array)
const recordSchema = z.union([z.tuple([z.string(), bytes, bytes]), z.tuple([z.string(), bytes])])

/** Frames a record for the file. */
function frame(key: Uint8Array, { page, update }: LogRecord): Uint8Array {
  const payload = encode([page, update, macOf(key, page, update)])
  const framed = Buffer.allocUnsafe(headerBytes + payload.byteLength)
  framed.writeUInt32BE(payload.byteLength, 0)
  framed.writeUInt32BE(crc32(payload), 4)
  framed.set(payload, headerBytes)
  return framed
}

function macOf(key: Uint8Array, page: string, update: Uint8Array): Uint8Array {
  const mac = createHmac('sha256', key).update(`${page}\0`).update(update).digest()
  return new Uint8Array(mac.subarray(0, macBytes))
}

/** The crash-safe record log: a file. */
export class RecordLog implements EntryLog {
  readonly #path: string
  readonly #key: Uint8Array
  #file: FileHandle | undefined
  #size = 0
  /** Records that no commit has taken yet; it frames them, so that whoever waits for a verdict does not wait for that. */
  #queue: LogRecord[] = []
  /** The queue that the last scheduled commit will take. */
  #scheduled: LogRecord[] | undefined
  /** Settles when every scheduled commit and rewrite has; never rejects. */
  #tail: Promise<void> = Promise.resolve()
  #failure: MurmurateError | undefined

  /**
   * @param path - of the file; its directory is made when missing
   * @param key - secret of this node, by which it knows again what it has verified
   */
  constructor(path: string, key: Uint8Array) {
    this.#path = path
    this.#key = key
  }

  get size(): number {
    return this.#size
  }

  get failure(): MurmurateError | undefined {
    return this.#failure
  }

  async open(onRecord: (record: LogRecord) => void): Promise<void> {
    try {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 })
      await rm(this.#draftPath, { force: true })
      const file = await open(this.#path, 'a+', 0o600)
      try {
        await this.#load(file, onRecord)
      } catch (error) {
        await file.close()
        throw error
      }
      this.#file = file
    } catch (cause) {
      throw await diskError(cause, this.#path, 0)
    }
    this.#queue = []
    this.#failure = undefined
  }

  enqueue(record: LogRecord): void {
    this.#queue.push(record)
  }

  /** Records enqueued while a sync runs share the next one. */
  async flush(): Promise<void> {
    if (this.#file === undefined) throw new MurmurateError('NOT_STARTED', `The log ${this.#path} is not open`)
    this.#schedule()
    await this.#tail
    if (this.#failure !== undefined) throw this.#failure
  }

  async replace(records: readonly LogRecord[]): Promise<void> {
    this.#schedule()
    this.#queue = []
    await this.#next(() => this.#rewrite(records))
  }

  async close(): Promise<void> {
    const file = this.#file
    if (file === undefined) return
    try {
      await this.flush()
    } finally {
      await this.#file?.close()
      this.#file = undefined
    }
  }

  get #draftPath(): string {
    return `${this.#path}.new`
  }

  async #load(file: FileHandle, onRecord: (record: LogRecord) => void): Promise<void> {
    const bytes = await file.readFile()
    this.#size = readRecords(this.#key, bytes, onRecord)
    if (this.#size < bytes.byteLength) await file.truncate(this.#size)
    await syncDirectory(dirname(this.#path))
  }

  #next(step: () => Promise<void>): Promise<void> {
    const result = this.#tail.then(step)
    this.#tail = result.catch(() => {})
    return result
  }

  #schedule(): void {
    const batch = this.#queue
    if (batch.length === 0 || this.#scheduled === batch) return
    this.#scheduled = batch
    void this.#next(async () => {
      if (this.#queue === batch) this.#queue = []
      await this.#commit(batch)
    })
  }

  async #commit(batch: readonly LogRecord[]): Promise<void> {
    const file = this.#file
    if (this.#failure !== undefined || file === undefined) return
    const bytes = Buffer.concat(batch.map((record) => frame(this.#key, record)))
    try {
      await file.appendFile(bytes)
      await file.datasync()
      this.#size += bytes.byteLength
    } catch (cause) {
      this.#failure = await diskError(cause, this.#path, bytes.byteLength)
    }
  }

  async #rewrite(records: readonly LogRecord[]): Promise<void> {
    let draft: FileHandle | undefined
    try {
      draft = await open(this.#draftPath, 'w', 0o600)
      const size = await writeRecords(this.#key, draft, records)
      await rename(this.#draftPath, this.#path)
      this.#size = size
    } catch (cause) {
      await draft?.close()
      await rm(this.#draftPath, { force: true }).catch(() => {})
      throw await diskError(cause, this.#path, sizeOf(records))
    }
    await this.#continueOn(draft)
  }

  /** Goes over to the new file at once: the old one has no name any more, what went there would be lost. */
  async #continueOn(file: FileHandle): Promise<void> {
    const old = this.#file
    this.#file = file
    await old?.close().catch(() => {})
    try {
      await syncDirectory(dirname(this.#path))
      this.#failure = undefined
    } catch (cause) {
      this.#failure = await diskError(cause, this.#path, 0)
      throw this.#failure
    }
  }
}

/** About what records take in the file. */
function sizeOf(records: readonly LogRecord[]): number {
  return records.reduce((sum, { page, update }) => sum + page.length + update.byteLength + headerBytes, 0)
}

/** Writes records to an empty file and syncs it; returns its size. */
async function writeRecords(key: Uint8Array, file: FileHandle, records: readonly LogRecord[]): Promise<number> {
  let size = 0
  for (const record of records) {
    const framed = frame(key, record)
    await file.appendFile(framed)
    size += framed.byteLength
  }
  await file.sync()
  return size
}

/** Reads frames until the first bad one; returns the offset behind the last good one. */
function readRecords(key: Uint8Array, bytes: Buffer, onRecord: (record: LogRecord) => void): number {
  let at = 0
  while (at + headerBytes < bytes.byteLength) {
    const end = at + headerBytes + bytes.readUInt32BE(at)
    const payload = bytes.subarray(at + headerBytes, end)
    if (payload.byteLength === 0 || end > bytes.byteLength || crc32(payload) !== bytes.readUInt32BE(at + 4)) break
    const record = readRecord(key, payload)
    if (record !== undefined) onRecord(record)
    at = end
  }
  return at
}

/** Undefined for an intact frame of another version of this library: it is passed over. */
function readRecord(key: Uint8Array, payload: Uint8Array): LogRecord | undefined {
  try {
    const limits = { maxBytes: payload.byteLength, what: 'A record in the log' }
    const [page, update, mac] = decode(payload, recordSchema, limits)
    const isVerified = mac !== undefined && isEqualSecretly(mac, macOf(key, page, update))
    return { page: parsePageId(page), update, isVerified }
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return undefined
  }
}

/** In the same time whatever the bytes are. */
function isEqualSecretly(one: Uint8Array, other: Uint8Array): boolean {
  return one.byteLength === other.byteLength && timingSafeEqual(one, other)
}
