/**
 * A store in a directory. One process at a time uses it (the node's lock sees to that). Layout:
 *
 * ```
 * blocks/<cid>       a dag-cbor block (manifest, file manifest, chunk page); verified each time it is read
 * roots/<cid>        empty: this manifest is wanted
 * files/<cid>        a complete file, read-only; the name is the CID of its file manifest
 * parts/<cid>.part   a file in the making: full length, holes where chunks are missing
 * parts/<cid>.held   which chunks of it are surely there. Beside a file in files/: which chunks have not rotted
 * parts/<random>.draft  a file being published; removed at start
 * ```
 *
 * All names are made here, from hashes and chance; nothing that a peer or a manifest says becomes a path.
 */
import { chmod, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { equalBytes } from '../core/codec.js'
import type { Environment } from '../core/environment.js'
import { MurmurateError, messageOf, systemCode } from '../core/errors.js'
import { parseCid, type Cid } from '../core/ids.js'
import { silentLogger, type Logger } from '../core/logger.js'
import { Bitfield } from './bitfield.js'
import {
  corruptChunk,
  insufficientStorage,
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
import { digestOf } from './cid.js'
import { FsBlocks } from './fs-blocks.js'
import { FsDraft } from './fs-draft.js'
import { diskError, freeDiskBytes, listWithoutDrafts, makeDirectories, readFully, removeIfThere, syncDirectory } from './fs-files.js'
import { FsPart, type PartPaths } from './fs-part.js'
import { readHeld, writeHeld } from './held-journal.js'
import { KeyedLock } from './keyed-lock.js'
import { ReadHandles } from './read-handles.js'
import { SpaceAccount } from './space-account.js'

/** Knobs of the store on disk. */
export interface FsBlobStoreInit {
  /** The directory that is all its own, by convention `<dataDir>/blobs`. Created when absent. */
  readonly directory: string
  readonly environment: Environment
  readonly logger?: Logger
  /** The declared limit, in bytes: it then has room for no more, however large the disk. @default none */
  readonly capacityBytes?: number
  /** Data of a part is synced after this many bytes. @default 67108864 */
  readonly syncBytes?: number
  /** Or after this many milliseconds. @default 2000 */
  readonly syncMs?: number
  /** Most chunks in the index of local chunks. @default 1000000 */
  readonly maxIndexedChunks?: number
}

/**
 * Defaults. A crash costs at most what was not synced: 64 MiB take half a second to fetch again on a gigabit link, and
 * syncing more often than every 2 s costs a disk with spinning plates a tenth of its time.
 */
export const fsBlobStoreDefaults = Object.freeze({ syncBytes: 64 * 1024 * 1024, syncMs: 2000, maxIndexedChunks: 1_000_000 })

interface Entry {
  readonly held: Bitfield
  isComplete: boolean
  part: FsPart | undefined
}

/** See `BlobStore`. */
export class FsBlobStore implements BlobStore {
  readonly #init: FsBlobStoreInit
  readonly #logger: Logger
  readonly #blocks: FsBlocks
  readonly #space: SpaceAccount
  readonly #locks = new KeyedLock<Cid>()
  readonly #handles = new ReadHandles()
  #entries = new Map<Cid, Entry>()
  #catalog: ChunkCatalog
  #isStarted = false

  constructor(init: FsBlobStoreInit) {
    this.#init = init
    this.#logger = init.logger ?? silentLogger
    this.#space = new SpaceAccount(init.capacityBytes)
    this.#blocks = new FsBlocks(init.directory, this.#space)
    this.#catalog = this.#newCatalog()
  }

  /** Finds out what is there: cleans up after a crash, and reads the chunk lists into the index. */
  async start(): Promise<void> {
    if (this.#isStarted) return
    try {
      await makeDirectories(...['', 'blocks', 'roots', 'files', 'parts'].map((name) => this.#path(name)))
      this.#entries = new Map()
      this.#catalog = this.#newCatalog()
      this.#space.release(this.#space.usedBytes)
      await this.#blocks.start()
      await this.#findFiles()
      await this.#findParts()
    } catch (error) {
      throw await diskError(error, this.#init.directory, 0)
    }
    this.#isStarted = true
  }

  /** Flushes and closes everything that is open. */
  async stop(): Promise<void> {
    this.#isStarted = false
    for (const { part } of this.#entries.values()) {
      await part?.shut().catch((error: unknown) => this.#logger.warn(`closing a part failed: ${messageOf(error)}`))
    }
    await this.#handles.close()
  }

  putBlock(cid: Cid, bytes: Uint8Array): Promise<void> {
    return this.#locks.run(cid, () => this.#blocks.put(cid, bytes))
  }

  getBlock(cid: Cid): Promise<Uint8Array | undefined> {
    return this.#blocks.get(cid)
  }

  removeBlock(cid: Cid): Promise<void> {
    return this.#locks.run(cid, () => this.#blocks.remove(cid))
  }

  keep(manifest: Cid): Promise<void> {
    return this.#blocks.keep(manifest)
  }

  forget(manifest: Cid): Promise<void> {
    return this.#blocks.forget(manifest)
  }

  kept(): readonly Cid[] {
    return this.#blocks.kept()
  }

  async createDraft(sizeBytes: number, cloneOf?: string): Promise<Draft> {
    const { availableBytes } = await this.space()
    if (sizeBytes > availableBytes) throw insufficientStorage(sizeBytes, availableBytes)
    const name = Buffer.from(this.#init.environment.random.bytes(16)).toString('hex')
    return FsDraft.create(
      {
        path: this.#path('parts', `${name}.draft`),
        sizeBytes,
        space: this.#space,
        pathOf: (file) => this.#paths(file).file,
        place: (file, move) => this.#locks.run(file, () => this.#place(file, move))
      },
      cloneOf
    )
  }

  openPart(file: Cid): Promise<Part> {
    return this.#locks.run(file, async () => {
      const chunks = await this.#catalog.list(file)
      if (chunks === undefined) throw new MurmurateError('BLOB_NOT_FOUND', `The blocks of file ${file} are not here`)
      const entry = (await this.#entryOf(file, chunks)) ?? { held: Bitfield.empty(chunks.count), isComplete: false, part: undefined }
      if (entry.isComplete) return wholePart(file, chunks, entry.held)
      this.#entries.set(file, entry)
      entry.part ??= await this.#openPart(file, chunks, entry)
      return entry.part.share()
    })
  }

  async state(file: Cid): Promise<FileState | undefined> {
    const chunks = await this.#catalog.list(file)
    const entry = chunks && (await this.#entryOf(file, chunks))
    return entry && { file, chunks, held: entry.held, isComplete: entry.isComplete }
  }

  async readChunk(file: Cid, chunk: number): Promise<Uint8Array> {
    const state = await this.state(file)
    if (state === undefined || !state.held.has(chunk)) throw missingChunk(file, chunk)
    const bytes = await this.#read(state, chunk)
    if (bytes !== undefined && equalBytes(digestOf(bytes), state.chunks.digest(chunk))) return bytes
    await this.#locks.run(file, () => this.#quarantine(state, chunk))
    throw corruptChunk(file, chunk)
  }

  path(file: Cid): string | undefined {
    return this.#entries.get(file)?.isComplete === true ? this.#paths(file).file : undefined
  }

  files(): readonly Cid[] {
    return [...this.#entries.keys()]
  }

  removeFile(file: Cid): Promise<void> {
    return this.#locks.run(file, async () => {
      const entry = this.#entries.get(file)
      await entry?.part?.shut().catch(() => {})
      const state = await this.state(file)
      const paths = this.#paths(file)
      this.#drop(file)
      for (const path of [paths.journal, paths.part, paths.file]) await removeIfThere(path)
      if (state !== undefined) this.#space.release(state.chunks.bytesIn(state.held))
    })
  }

  locate(digests: Uint8Array): Promise<readonly (ChunkPlace | undefined)[]> {
    return this.#catalog.locate(digests)
  }

  async space(): Promise<Space> {
    const free = await freeDiskBytes(this.#init.directory).catch((error: unknown) => {
      throw new MurmurateError('DATA_DIR_UNREADABLE', `${this.#init.directory}: ${messageOf(error)}`, { cause: error })
    })
    return { availableBytes: Math.min(free, this.#space.leftBytes), usedBytes: this.#space.usedBytes }
  }

  #newCatalog(): ChunkCatalog {
    const limit = this.#init.maxIndexedChunks ?? fsBlobStoreDefaults.maxIndexedChunks
    return new ChunkCatalog((cid) => this.#blocks.get(cid), limit)
  }

  #path(...names: string[]): string {
    return join(this.#init.directory, ...names)
  }

  #paths(file: Cid): PartPaths {
    return {
      part: this.#path('parts', `${file}.part`),
      journal: this.#path('parts', `${file}.held`),
      file: this.#path('files', file)
    }
  }

  async #findFiles(): Promise<void> {
    for (const file of cidsIn(await listWithoutDrafts(this.#path('files')))) {
      const chunks = await this.#listOf(file)
      if (chunks !== undefined) await this.#entryOf(file, chunks)
    }
  }

  async #findParts(): Promise<void> {
    const names = await listWithoutDrafts(this.#path('parts'))
    for (const name of names.filter((name) => name.endsWith('.draft'))) await removeIfThere(this.#path('parts', name))
    for (const file of cidsIn(names.filter((name) => name.endsWith('.held')).map((name) => name.slice(0, -'.held'.length)))) {
      if (!this.#entries.has(file)) await this.#findPart(file, names.includes(`${file}.part`))
    }
    const known = cidsIn(names.filter((name) => name.endsWith('.part')).map((name) => name.slice(0, -'.part'.length)))
    for (const file of known) if (!this.#entries.has(file)) await removeIfThere(this.#paths(file).part)
  }

  async #findPart(file: Cid, hasData: boolean): Promise<void> {
    const { journal } = this.#paths(file)
    const chunks = await this.#listOf(file)
    const held = hasData ? await readHeld(journal) : undefined
    if (chunks === undefined || held?.length !== chunks.count) return removeIfThere(journal)
    this.#entries.set(file, { held, isComplete: false, part: undefined })
    this.#space.count(chunks.bytesIn(held))
  }

  async #listOf(file: Cid): Promise<ChunkList | undefined> {
    try {
      return await this.#catalog.list(file)
    } catch (error) {
      this.#logger.warn(`the blocks of file ${file} are damaged: ${messageOf(error)}`)
      return undefined
    }
  }

  /** The entry of a file; one that lies in files/ without an entry (its blocks came back) gets one. */
  async #entryOf(file: Cid, chunks: ChunkList): Promise<Entry | undefined> {
    const known = this.#entries.get(file)
    if (known !== undefined) return known
    const paths = this.#paths(file)
    const size = await sizeOf(paths.file)
    if (size !== chunks.sizeBytes) return undefined
    const journal = await readHeld(paths.journal)
    const held = journal?.length === chunks.count ? journal : Bitfield.full(chunks.count)
    const again = this.#entries.get(file)
    if (again !== undefined) return again
    const entry: Entry = { held, isComplete: held.isFull, part: undefined }
    this.#entries.set(file, entry)
    this.#space.count(chunks.bytesIn(held))
    await this.#catalog.add(file)
    return entry
  }

  async #openPart(file: Cid, chunks: ChunkList, entry: Entry): Promise<FsPart> {
    const paths = this.#paths(file)
    await this.#demote(paths)
    return FsPart.open({
      file,
      chunks,
      held: entry.held,
      paths,
      clock: this.#init.environment.clock,
      space: this.#space,
      syncBytes: this.#init.syncBytes ?? fsBlobStoreDefaults.syncBytes,
      syncMs: this.#init.syncMs ?? fsBlobStoreDefaults.syncMs,
      onComplete: () => this.#completed(file, entry),
      onClosed: () => (entry.part = undefined)
    })
  }

  /** A file with a rotten chunk becomes a part again. */
  async #demote(paths: PartPaths): Promise<void> {
    if ((await sizeOf(paths.file)) === undefined) return
    this.#handles.forget(paths.file)
    await chmod(paths.file, 0o600)
    await rename(paths.file, paths.part)
  }

  async #completed(file: Cid, entry: Entry): Promise<void> {
    this.#handles.forget(this.#paths(file).part)
    entry.isComplete = true
    await this.#catalog.add(file)
  }

  /** A draft has turned out to be this file. */
  async #place(file: Cid, move: () => Promise<void>): Promise<void> {
    const chunks = await this.#catalog.list(file)
    const entry = chunks && (await this.#entryOf(file, chunks))
    if (chunks === undefined || entry?.isComplete === true) return
    await entry?.part?.shut()
    await move()
    const { part, journal } = this.#paths(file)
    this.#handles.forget(part)
    await removeIfThere(journal)
    await removeIfThere(part)
    this.#space.release(entry === undefined ? 0 : chunks.bytesIn(entry.held))
    this.#entries.set(file, { held: Bitfield.full(chunks.count), isComplete: true, part: undefined })
    await this.#catalog.add(file)
  }

  async #read(state: FileState, chunk: number): Promise<Uint8Array | undefined> {
    const { part, file } = this.#paths(state.file)
    // A part that is just being completed is under one name or the other.
    for (const path of [part, file, part]) {
      try {
        const length = state.chunks.length(chunk)
        const bytes = await this.#handles.use(path, (handle) => readFully(handle, length, state.chunks.offset(chunk)))
        return bytes.byteLength === length ? bytes : undefined
      } catch (error) {
        if (systemCode(error) === 'EIO') return undefined
        if (systemCode(error) !== 'ENOENT') throw await diskError(error, path, 0)
      }
    }
    return undefined
  }

  async #quarantine(state: FileState, chunk: number): Promise<void> {
    const entry = this.#entries.get(state.file)
    if (entry === undefined || !entry.held.clear(chunk)) return
    this.#logger.warn('a chunk on disk does not verify; it counts as missing', { file: state.file, chunk })
    this.#space.release(state.chunks.length(chunk))
    entry.isComplete = false
    if (entry.part === undefined) await writeHeld(this.#paths(state.file).journal, entry.held)
    await syncDirectory(this.#path('parts'))
  }

  #drop(file: Cid): void {
    this.#entries.delete(file)
    this.#catalog.remove(file)
    this.#handles.forget(this.#paths(file).part)
    this.#handles.forget(this.#paths(file).file)
  }
}

function wholePart(file: Cid, chunks: ChunkList, held: Bitfield): Part {
  const nothing = async (): Promise<void> => {}
  return { file, chunks, held, write: nothing, flush: nothing, complete: nothing, close: nothing }
}

function cidsIn(names: readonly string[]): readonly Cid[] {
  return names.flatMap((name) => {
    try {
      return [parseCid(name)]
    } catch {
      return []
    }
  })
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
}
