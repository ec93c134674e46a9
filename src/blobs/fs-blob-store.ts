/**
 * A store in a directory. One process at a time uses it (the node's lock sees to that). Layout:
 *
 * ```
 * blocks/<cid>          a dag-cbor block (manifest, file manifest, chunk page); verified each time it is read
 * roots/<cid>           empty: this manifest is wanted
 * files/<cid>           a complete file, read-only; the name is the CID of its file manifest
 * parts/<cid>.part      a file in the making: full length, holes where chunks are missing
 * parts/<cid>.held      which chunks of it are surely there. Beside a file in files/: which chunks have not rotted
 * parts/<cid>.recent    which chunks were written lately: hashed again after a crash
 * parts/<random>.draft  a file being published; removed at start
 * ```
 * All names come from hashes and chance; nothing that a peer or a manifest says becomes a path.
 */
import { chmod, rename } from 'node:fs/promises'
import { equalBytes } from '../core/codec.js'
import { diskError, freeDiskBytes, insufficientStorage, syncDirectory } from '../core/durable.js'
import { MurmurateError, messageOf, systemCode } from '../core/errors.js'
import type { Cid } from '../core/ids.js'
import { silentLogger, type Logger } from '../core/logger.js'
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
import { digestOf } from './cid.js'
import { fsBlobStoreDefaults, type FsBlobStoreInit } from './fs-defaults.js'
import { FsBlocks } from './fs-blocks.js'
import { FsDraft } from './fs-draft.js'
import { FsEntries, newEntry, wholePart, type FsEntry } from './fs-entries.js'
import { makeDirectories, readFully, removeIfThere } from './fs-files.js'
import { FsLayout, sizeOf, type FilePaths } from './fs-layout.js'
import { FsPart } from './fs-part.js'
import { writeHeld } from './held-journal.js'
import { KeyedLock } from './keyed-lock.js'
import { ReadHandles } from './read-handles.js'
import { SpaceAccount } from './space-account.js'

type FsKnobs = { readonly [Knob in keyof typeof fsBlobStoreDefaults]: number }

/** See `BlobStore`. */
export class FsBlobStore implements BlobStore {
  readonly #init: FsBlobStoreInit & FsKnobs
  readonly #logger: Logger
  readonly #layout: FsLayout
  readonly #blocks: FsBlocks
  readonly #space: SpaceAccount
  readonly #locks = new KeyedLock<Cid>()
  readonly #handles = new ReadHandles()
  #catalog: ChunkCatalog
  #entries: FsEntries
  #isStarted = false

  constructor(init: FsBlobStoreInit) {
    this.#init = { ...fsBlobStoreDefaults, ...init }
    this.#logger = init.logger ?? silentLogger
    this.#layout = new FsLayout(init.directory)
    this.#space = new SpaceAccount(init.capacityBytes)
    this.#blocks = new FsBlocks(this.#layout, this.#space)
    this.#catalog = this.#newCatalog()
    this.#entries = this.#newEntries()
  }

  /** Finds out what is there: cleans up after a crash, and reads the chunk lists into the index. */
  async start(): Promise<void> {
    if (this.#isStarted) return
    const { root, blocks, roots, files, parts } = this.#layout
    this.#catalog = this.#newCatalog()
    this.#entries = this.#newEntries()
    this.#space.release(this.#space.usedBytes)
    try {
      await makeDirectories(root, blocks, roots, files, parts)
      await this.#blocks.start()
      await this.#entries.find()
    } catch (error) {
      throw await diskError(error, root, 0)
    }
    this.#isStarted = true
  }

  /** Flushes and closes everything that is open. */
  async stop(): Promise<void> {
    this.#isStarted = false
    for (const { part } of this.#entries.all().values()) {
      await part
        ?.shut()
        .catch((error: unknown) => this.#logger.warn(`a part could not be flushed: ${messageOf(error)}`))
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
    return this.#locks.run(manifest, () => this.#blocks.keep(manifest))
  }

  forget(manifest: Cid): Promise<void> {
    return this.#locks.run(manifest, () => this.#blocks.forget(manifest))
  }

  kept(): readonly Cid[] {
    return this.#blocks.kept()
  }

  async createDraft(sizeBytes: number, cloneOf?: string): Promise<Draft> {
    const { availableBytes } = await this.space()
    if (sizeBytes > availableBytes) throw insufficientStorage(sizeBytes, availableBytes)
    const init = {
      path: this.#layout.draft(this.#init.environment.random.bytes(16)),
      sizeBytes,
      space: this.#space,
      pathOf: (file: Cid): string => this.#layout.pathsOf(file).file,
      place: (file: Cid, move: () => Promise<void>) => this.#locks.run(file, () => this.#place(file, move))
    }
    return FsDraft.create(init, cloneOf)
  }

  openPart(file: Cid): Promise<Part> {
    return this.#locks.run(file, async () => {
      const chunks = await this.#catalog.list(file)
      if (chunks === undefined) throw new MurmurateError('BLOB_NOT_FOUND', `The blocks of file ${file} are not here`)
      const entry = (await this.#entries.entryOf(file, chunks)) ?? newEntry(chunks)
      if (entry.isComplete) return wholePart(file, chunks, entry.held)
      entry.part ??= await this.#openPart(file, chunks, entry)
      this.#entries.set(file, entry)
      return entry.part.share()
    })
  }

  async state(file: Cid): Promise<FileState | undefined> {
    const chunks = await this.#catalog.list(file)
    const entry = chunks && (await this.#entries.entryOf(file, chunks))
    return entry && { file, chunks, held: entry.held, isComplete: entry.isComplete }
  }

  async readChunk(file: Cid, chunk: number): Promise<Uint8Array> {
    const state = await this.state(file)
    if (state === undefined || !state.held.has(chunk)) throw missingChunk(file, chunk)
    const bytes = await this.#read(state, chunk)
    if (bytes !== undefined && equalBytes(digestOf(bytes), state.chunks.digest(chunk))) return bytes
    if (this.#entries.get(file) === undefined) throw missingChunk(file, chunk)
    await this.#locks.run(file, () => this.#quarantine(state, chunk))
    throw corruptChunk(file, chunk)
  }

  path(file: Cid): string | undefined {
    return this.#entries.get(file)?.isComplete === true ? this.#layout.pathsOf(file).file : undefined
  }

  files(): readonly Cid[] {
    return [...this.#entries.all().keys()]
  }

  removeFile(file: Cid): Promise<void> {
    return this.#locks.run(file, async () => {
      await Promise.allSettled([this.#entries.get(file)?.part?.shut()])
      const state = await this.state(file)
      const paths = this.#layout.pathsOf(file)
      this.#handles.forget(paths.part)
      this.#handles.forget(paths.file)
      for (const path of [paths.journal, paths.recent, paths.part, paths.file]) await removeIfThere(path)
      // Not earlier: whoever looks meanwhile would take the file for one whose blocks came back, and give it an entry again.
      this.#entries.delete(file)
      this.#catalog.remove(file)
      if (state !== undefined) this.#space.release(state.chunks.bytesIn(state.held))
    })
  }

  locate(digests: Uint8Array): Promise<readonly (ChunkPlace | undefined)[]> {
    return this.#catalog.locate(digests)
  }

  async space(): Promise<Space> {
    const { root } = this.#layout
    try {
      const free = await freeDiskBytes(root)
      return { availableBytes: Math.min(free, this.#space.leftBytes), usedBytes: this.#space.usedBytes }
    } catch (error) {
      throw await diskError(error, root, 0)
    }
  }

  #newCatalog(): ChunkCatalog {
    return new ChunkCatalog((cid) => this.#blocks.get(cid), this.#init.maxIndexedChunks)
  }

  #newEntries(): FsEntries {
    return new FsEntries({ layout: this.#layout, catalog: this.#catalog, space: this.#space, logger: this.#logger })
  }

  async #openPart(file: Cid, chunks: ChunkList, entry: FsEntry): Promise<FsPart> {
    const paths = this.#layout.pathsOf(file)
    await this.#demote(paths)
    // Somebody took the data away: what was held is not.
    if ((await sizeOf(paths.part)) !== chunks.sizeBytes) {
      for (let chunk = 0; chunk < chunks.count; chunk++) {
        if (entry.held.clear(chunk)) this.#space.release(chunks.length(chunk))
      }
    }
    return FsPart.open({
      ...this.#init,
      file,
      chunks,
      held: entry.held,
      paths,
      clock: this.#init.environment.clock,
      space: this.#space,
      exclusive: (task) => this.#locks.run(file, task),
      onComplete: () => this.#completed(file, entry),
      onClosed: () => (entry.part = undefined)
    })
  }

  /** A file with a rotten chunk becomes a part again. */
  async #demote(paths: FilePaths): Promise<void> {
    if ((await sizeOf(paths.file)) === undefined) return
    this.#handles.forget(paths.file)
    await chmod(paths.file, 0o600)
    await rename(paths.file, paths.part)
  }

  async #completed(file: Cid, entry: FsEntry): Promise<void> {
    this.#handles.forget(this.#layout.pathsOf(file).part)
    entry.isComplete = true
    await this.#catalog.add(file)
  }

  /** A draft has turned out to be this file. A part of it, if there is one, has become needless. */
  async #place(file: Cid, move: () => Promise<void>): Promise<void> {
    const chunks = await this.#catalog.list(file)
    const entry = chunks && (await this.#entries.entryOf(file, chunks))
    if (chunks === undefined || entry?.isComplete === true) return
    const partBytes = entry === undefined ? 0 : chunks.bytesIn(entry.held)
    await entry?.part?.supersede()
    const { part, journal, recent } = this.#layout.pathsOf(file)
    try {
      // Not later: beside a complete file it would say that what the part lacked has rotted.
      await removeIfThere(journal)
      await move()
    } catch (error) {
      // The part was told to be whole, and is not.
      this.#entries.delete(file)
      throw error
    } finally {
      this.#space.release(partBytes)
    }
    this.#handles.forget(part)
    for (const path of [part, recent]) await removeIfThere(path)
    this.#entries.set(file, { held: Bitfield.full(chunks.count), isComplete: true, part: undefined })
    await this.#catalog.add(file)
  }

  async #read(state: FileState, chunk: number): Promise<Uint8Array | undefined> {
    const { part, file } = this.#layout.pathsOf(state.file)
    const length = state.chunks.length(chunk)
    // A part that is just being completed is under one name or the other.
    for (const path of state.isComplete ? [file] : [part, file]) {
      try {
        return await this.#handles.use(path, (handle) => readFully(handle, length, state.chunks.offset(chunk)))
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
    if (entry.part !== undefined) return
    const { journal } = this.#layout.pathsOf(state.file)
    const written = writeHeld(journal, entry.held).then(() => syncDirectory(this.#layout.parts))
    await written.catch((error: unknown) => this.#logger.warn(`${journal} stays as it was: ${messageOf(error)}`))
  }
}
