import { constants } from 'node:fs'
import { chmod, open, rename, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { diskError, insufficientStorage } from '../core/durable.js'
import { equalBytes } from '../core/codec.js'
import { syncDirectory } from '../core/durable.js'
import type { Clock, Timer } from '../core/environment.js'
import type { Cid } from '../core/ids.js'
import { Bitfield } from './bitfield.js'
import { corruptChunk, missingChunk, type Part } from './blob-store.js'
import type { ChunkList } from './chunk-list.js'
import { digestOf } from './cid.js'
import { removeIfThere, writeFully } from './fs-files.js'
import type { FilePaths } from './fs-layout.js'
import { writeHeld } from './held-journal.js'
import { RecentChunks } from './recent-chunks.js'
import type { SpaceAccount } from './space-account.js'

/** What a part needs. */
export interface FsPartInit {
  readonly file: Cid
  readonly chunks: ChunkList
  readonly held: Bitfield
  readonly paths: FilePaths
  readonly clock: Clock
  readonly space: SpaceAccount
  /** Data is synced after this many bytes. */
  readonly syncBytes: number
  /** Or after this many milliseconds. */
  readonly syncMs: number
  /** Runs a task while nobody else opens, removes or replaces the file. */
  readonly exclusive: (task: () => Promise<void>) => Promise<void>
  /** Called once, when the file has been put in its place. */
  readonly onComplete: () => Promise<void>
  /** Called once, when the last user has closed it. */
  readonly onClosed: () => void
}

/** A file in the making, on disk. Data is synced first, then the journal says so: what the journal says is always true. */
export class FsPart implements Part {
  readonly file: Cid
  readonly chunks: ChunkList
  readonly held: Bitfield
  readonly #init: FsPartInit
  readonly #handle: FileHandle
  readonly #recent: RecentChunks
  #journalled: Bitfield
  #unsyncedBytes = 0
  #timer: Timer | undefined
  #syncing: Promise<void> | undefined
  #failure: unknown
  #users = 0
  #closing: Promise<void> | undefined
  #isSuperseded = false

  private constructor(init: FsPartInit, handle: FileHandle) {
    this.file = init.file
    this.chunks = init.chunks
    this.held = init.held
    this.#init = init
    this.#handle = handle
    this.#recent = new RecentChunks(init.paths.recent)
    this.#journalled = init.held.clone()
  }

  /** Opens or creates the data file, at its full length but without using the disk for what is not there yet. */
  static async open(init: FsPartInit): Promise<FsPart> {
    let handle: FileHandle | undefined
    try {
      handle = await open(init.paths.part, constants.O_RDWR | constants.O_CREAT, 0o600)
      await handle.truncate(init.chunks.sizeBytes)
      // No journal says the same as an empty one, and costs no sync.
      if (init.held.ones === 0) await removeIfThere(init.paths.journal)
      else await journal(handle, init)
      return new FsPart(init, handle)
    } catch (error) {
      await handle?.close()
      throw await diskError(error, init.paths.part, init.chunks.sizeBytes)
    }
  }

  /** Counts one more user; each closes it. */
  share(): this {
    this.#users++
    return this
  }

  async write(chunk: number, bytes: Uint8Array, options: { readonly isVerified?: boolean } = {}): Promise<void> {
    this.#throwFailure()
    const isRight = options.isVerified === true || equalBytes(digestOf(bytes), this.chunks.digest(chunk))
    if (!isRight || bytes.byteLength !== this.chunks.length(chunk)) throw corruptChunk(this.file, chunk)
    if (this.held.has(chunk)) return
    if (!this.#init.space.tryClaim(bytes.byteLength)) {
      throw insufficientStorage(this.#missingBytes(), this.#init.space.leftBytes)
    }
    try {
      await writeFully(this.#handle, bytes, this.chunks.offset(chunk))
    } catch (error) {
      this.#init.space.release(bytes.byteLength)
      throw await this.#diskError(error)
    }
    // Closed meanwhile: nobody will sync it. Or somebody else wrote the same bytes: counted once.
    const isNew = this.#closing === undefined && this.held.set(chunk)
    if (isNew) this.#noteUnsynced(chunk, bytes.byteLength)
    else this.#init.space.release(bytes.byteLength)
  }

  async flush(): Promise<void> {
    await this.#syncing
    if (this.#isSuperseded) return
    if (this.#unsyncedBytes > 0 || this.#journalled.ones !== this.held.ones) await this.#sync()
    this.#throwFailure()
  }

  complete(): Promise<void> {
    return this.#init.exclusive(async () => (this.#isSuperseded ? undefined : this.#putInPlace()))
  }

  /** The same file has come into the store another way: whoever still writes this one may go on, to no effect. */
  async supersede(): Promise<void> {
    this.#isSuperseded = true
    for (let chunk = 0; chunk < this.chunks.count; chunk++) this.held.set(chunk)
    await this.#release()
  }

  async #putInPlace(): Promise<void> {
    const [missing] = this.held.zeros()
    if (missing !== undefined) throw missingChunk(this.file, missing)
    await this.flush()
    const { part, file, journal } = this.#init.paths
    try {
      await this.#release()
      // Whoever loads the file cannot change it by mistake.
      await chmod(part, 0o444)
      await rename(part, file)
      await syncDirectory(dirname(file))
      await removeIfThere(journal)
      await this.#recent.remove()
      await syncDirectory(dirname(part))
    } catch (error) {
      throw await this.#diskError(error)
    }
    await this.#init.onComplete()
  }

  async close(): Promise<void> {
    if (--this.#users > 0) return
    await this.shut()
  }

  /** Flushes and closes whoever still uses it. */
  async shut(): Promise<void> {
    try {
      if (this.#closing === undefined) await this.flush()
    } finally {
      await this.#release()
    }
  }

  #release(): Promise<void> {
    this.#closing ??= this.#closeHandle()
    return this.#closing
  }

  async #closeHandle(): Promise<void> {
    this.#timer?.cancel()
    await this.#syncing
    await this.#recent.close()
    await this.#handle.close()
    this.#init.onClosed()
  }

  #noteUnsynced(chunk: number, bytes: number): void {
    this.#recent.note(chunk)
    this.#unsyncedBytes += bytes
    if (this.#unsyncedBytes >= this.#init.syncBytes) void this.#sync()
    else this.#timer ??= this.#init.clock.setTimer(this.#init.syncMs, () => void this.#sync())
  }

  /** One at a time. Never rejects: a failure is thrown at the next write or flush. */
  #sync(): Promise<void> {
    this.#syncing ??= this.#syncOnce().finally(() => (this.#syncing = undefined))
    return this.#syncing
  }

  async #syncOnce(): Promise<void> {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#unsyncedBytes = 0
    const written = this.held.clone()
    try {
      await this.#handle.datasync()
      await writeHeld(this.#init.paths.journal, written)
      this.#journalled = written
    } catch (error) {
      this.#forgetUnsynced()
      this.#failure = await this.#diskError(error)
    }
  }

  /** After a failed sync the system may have dropped any page written since the last good one. */
  #forgetUnsynced(): void {
    for (let chunk = 0; chunk < this.chunks.count; chunk++) {
      if (this.#journalled.has(chunk) || !this.held.clear(chunk)) continue
      this.#init.space.release(this.chunks.length(chunk))
    }
  }

  #throwFailure(): void {
    const failure = this.#failure
    this.#failure = undefined
    if (failure !== undefined) throw failure
  }

  #diskError(cause: unknown): Promise<Error> {
    return diskError(cause, this.#init.paths.part, this.#missingBytes())
  }

  #missingBytes(): number {
    return this.chunks.sizeBytes - this.chunks.bytesIn(this.held)
  }
}

/** Makes what was found after a crash safe before the journal says that it is there; its notes are then of no use. */
async function journal(handle: FileHandle, { paths, held }: FsPartInit): Promise<void> {
  await handle.datasync()
  await writeHeld(paths.journal, held)
  await removeIfThere(paths.recent)
}
