/**
 * A store in memory, for tests and simulation. Like a disk, it keeps what it has when it is stopped and started again.
 */
import { insufficientStorage } from '../core/durable.js'
import { MurmurateError } from '../core/errors.js'
import type { Cid } from '../core/ids.js'
import { Bitfield } from './bitfield.js'
import {
  corruptChunk,
  missingChunk,
  type BlobStore,
  type ChunkPlace,
  type Draft,
  type FileState,
  type Part,
  type Space
} from './blob-store.js'
import { ChunkCatalog } from './chunk-catalog.js'
import type { ChunkList } from './chunk-list.js'
import { digestOf, matches } from './cid.js'
import { equalBytes } from '../core/codec.js'
import { SpaceAccount } from './space-account.js'

/** Knobs of the store in memory. */
export interface MemoryBlobStoreInit {
  /** The declared limit, in bytes. @default 1 GiB */
  readonly capacityBytes?: number
}

const defaultCapacityBytes = 1024 ** 3

interface StoredFile {
  readonly chunks: ChunkList
  readonly data: Uint8Array
  readonly held: Bitfield
  isComplete: boolean
}

/** See `BlobStore`. */
export class MemoryBlobStore implements BlobStore {
  readonly #blocks = new Map<Cid, Uint8Array>()
  readonly #kept = new Set<Cid>()
  readonly #files = new Map<Cid, StoredFile>()
  readonly #catalog = new ChunkCatalog((cid) => this.getBlock(cid))
  readonly #space: SpaceAccount

  constructor(init: MemoryBlobStoreInit = {}) {
    this.#space = new SpaceAccount(init.capacityBytes ?? defaultCapacityBytes)
  }

  start(): void {}

  stop(): void {}

  async putBlock(cid: Cid, bytes: Uint8Array): Promise<void> {
    if (!matches(cid, bytes)) throw new MurmurateError('BLOB_CORRUPT', `The bytes are not those of block ${cid}`)
    if (this.#blocks.has(cid)) return
    this.#space.claim(bytes.byteLength)
    this.#blocks.set(cid, Uint8Array.from(bytes))
  }

  async getBlock(cid: Cid): Promise<Uint8Array | undefined> {
    return this.#blocks.get(cid)
  }

  async removeBlock(cid: Cid): Promise<void> {
    this.#space.release(this.#blocks.get(cid)?.byteLength ?? 0)
    this.#blocks.delete(cid)
  }

  async keep(manifest: Cid): Promise<void> {
    this.#kept.add(manifest)
  }

  async forget(manifest: Cid): Promise<void> {
    this.#kept.delete(manifest)
  }

  kept(): readonly Cid[] {
    return [...this.#kept]
  }

  async createDraft(sizeBytes: number): Promise<Draft> {
    if (sizeBytes > this.#space.leftBytes) throw insufficientStorage(sizeBytes, this.#space.leftBytes)
    const data = new Uint8Array(sizeBytes)
    return {
      clone: undefined,
      write: async (bytes, position) => data.set(bytes, position),
      commit: (file) => this.#commit(file, data),
      discard: async () => {}
    }
  }

  async #commit(file: Cid, data: Uint8Array): Promise<void> {
    const chunks = await this.#listOf(file)
    const stored = this.#files.get(file) ?? this.#createFile(file, chunks)
    this.#space.claim(chunks.sizeBytes - chunks.bytesIn(stored.held))
    stored.data.set(data)
    for (let chunk = 0; chunk < chunks.count; chunk++) stored.held.set(chunk)
    await this.#complete(file, stored)
  }

  async openPart(file: Cid): Promise<Part> {
    const chunks = await this.#listOf(file)
    const stored = this.#files.get(file) ?? this.#createFile(file, chunks)
    return {
      file,
      chunks,
      held: stored.held,
      write: async (chunk, bytes, options) => this.#write(file, stored, chunk, bytes, options?.isVerified === true),
      flush: async () => {},
      complete: () => this.#complete(file, stored),
      close: async () => {}
    }
  }

  async state(file: Cid): Promise<FileState | undefined> {
    const stored = this.#files.get(file)
    return stored && { file, chunks: stored.chunks, held: stored.held, isComplete: stored.isComplete }
  }

  async readChunk(file: Cid, chunk: number): Promise<Uint8Array> {
    const stored = this.#files.get(file)
    if (stored === undefined || !stored.held.has(chunk)) throw missingChunk(file, chunk)
    const begin = stored.chunks.offset(chunk)
    const bytes = stored.data.slice(begin, begin + stored.chunks.length(chunk))
    if (equalBytes(digestOf(bytes), stored.chunks.digest(chunk))) return bytes
    stored.held.clear(chunk)
    stored.isComplete = false
    this.#space.release(bytes.byteLength)
    throw corruptChunk(file, chunk)
  }

  /** Not a path of the file system; `read` gives the bytes. */
  path(file: Cid): string | undefined {
    return this.#files.get(file)?.isComplete === true ? `memory:${file}` : undefined
  }

  /** The bytes behind a path that this store gave out; writing to them damages the file, as on a disk. */
  read(path: string): Uint8Array | undefined {
    const found = [...this.#files].find(([file]) => this.path(file) === path)
    return found?.[1].data
  }

  files(): readonly Cid[] {
    return [...this.#files.keys()]
  }

  async removeFile(file: Cid): Promise<void> {
    const stored = this.#files.get(file)
    if (stored === undefined) return
    this.#files.delete(file)
    this.#catalog.remove(file)
    this.#space.release(stored.chunks.bytesIn(stored.held))
  }

  locate(digests: Uint8Array): Promise<readonly (ChunkPlace | undefined)[]> {
    return this.#catalog.locate(digests)
  }

  async space(): Promise<Space> {
    return { availableBytes: this.#space.leftBytes, usedBytes: this.#space.usedBytes }
  }

  async #listOf(file: Cid): Promise<ChunkList> {
    const chunks = await this.#catalog.list(file)
    if (chunks !== undefined) return chunks
    throw new MurmurateError('BLOB_NOT_FOUND', `The blocks of file ${file} are not here`, { details: { file } })
  }

  #createFile(file: Cid, chunks: ChunkList): StoredFile {
    const data = new Uint8Array(chunks.sizeBytes)
    const stored: StoredFile = { chunks, data, held: Bitfield.empty(chunks.count), isComplete: false }
    this.#files.set(file, stored)
    return stored
  }

  #write(file: Cid, stored: StoredFile, chunk: number, bytes: Uint8Array, isVerified: boolean): void {
    const isRight = isVerified || equalBytes(digestOf(bytes), stored.chunks.digest(chunk))
    if (!isRight || bytes.byteLength !== stored.chunks.length(chunk)) throw corruptChunk(file, chunk)
    if (stored.held.has(chunk)) return
    if (!this.#space.tryClaim(bytes.byteLength)) {
      throw insufficientStorage(stored.chunks.sizeBytes - stored.chunks.bytesIn(stored.held), this.#space.leftBytes)
    }
    stored.data.set(bytes, stored.chunks.offset(chunk))
    stored.held.set(chunk)
  }

  async #complete(file: Cid, stored: StoredFile): Promise<void> {
    const [missing] = stored.held.zeros()
    if (missing !== undefined) throw missingChunk(file, missing)
    stored.isComplete = true
    await this.#catalog.add(file)
  }
}
