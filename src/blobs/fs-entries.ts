import { messageOf } from '../core/errors.js'
import type { Cid } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import { Bitfield } from './bitfield.js'
import type { Part } from './blob-store.js'
import type { ChunkCatalog } from './chunk-catalog.js'
import type { ChunkList } from './chunk-list.js'
import { listWithoutDrafts, removeIfThere } from './fs-files.js'
import { cidsIn, sizeOf, type FsLayout } from './fs-layout.js'
import type { FsPart } from './fs-part.js'
import { readHeld } from './held-journal.js'
import { addRecent } from './recent-chunks.js'
import type { SpaceAccount } from './space-account.js'

/** What a store on disk knows of a file. */
export interface FsEntry {
  readonly held: Bitfield
  isComplete: boolean
  /** While it is being written. */
  part: FsPart | undefined
}

/** Parts that the entries need. */
export interface FsEntriesInit {
  readonly layout: FsLayout
  readonly catalog: ChunkCatalog
  readonly space: SpaceAccount
  readonly logger: Logger
}

/** The files and parts in a store on disk: found at start, then kept in memory. */
export class FsEntries {
  readonly #init: FsEntriesInit
  readonly #entries = new Map<Cid, FsEntry>()

  constructor(init: FsEntriesInit) {
    this.#init = init
  }

  /** Finds what is there, and removes what a crash left of no use. */
  async find(): Promise<void> {
    const { layout } = this.#init
    for (const file of cidsIn(await listWithoutDrafts(layout.files))) {
      const chunks = await this.#listOf(file)
      if (chunks !== undefined) await this.entryOf(file, chunks)
    }
    const { drafts, parts } = layout.sortParts(await listWithoutDrafts(layout.parts))
    for (const draft of drafts) await removeIfThere(draft)
    for (const file of parts) if (!this.#entries.has(file)) await this.#findPart(file)
  }

  get(file: Cid): FsEntry | undefined {
    return this.#entries.get(file)
  }

  set(file: Cid, entry: FsEntry): void {
    this.#entries.set(file, entry)
  }

  delete(file: Cid): void {
    this.#entries.delete(file)
  }

  all(): ReadonlyMap<Cid, FsEntry> {
    return this.#entries
  }

  /** The entry of a file; one that lies in `files/` without an entry (its blocks were lost, and came back) gets one. */
  async entryOf(file: Cid, chunks: ChunkList): Promise<FsEntry | undefined> {
    const known = this.#entries.get(file)
    if (known !== undefined) return known
    const paths = this.#init.layout.pathsOf(file)
    if ((await sizeOf(paths.file)) !== chunks.sizeBytes) return undefined
    const journal = await readHeld(paths.journal)
    const held = journal?.length === chunks.count ? journal : Bitfield.full(chunks.count)
    return this.#entries.get(file) ?? this.#add(file, chunks, held)
  }

  async #add(file: Cid, chunks: ChunkList, held: Bitfield): Promise<FsEntry> {
    const entry: FsEntry = { held, isComplete: held.isFull, part: undefined }
    this.#entries.set(file, entry)
    this.#init.space.count(chunks.bytesIn(held))
    await this.#init.catalog.add(file)
    return entry
  }

  /**
   * A part counts for what its journal says, and for what was written since and still verifies; if its data is there at
   * full length. Otherwise it is of no use.
   */
  async #findPart(file: Cid): Promise<void> {
    const { part, journal, recent } = this.#init.layout.pathsOf(file)
    const chunks = await this.#listOf(file)
    const held = chunks && (await sizeOf(part)) === chunks.sizeBytes ? await this.#heldOf(file, chunks) : undefined
    if (chunks === undefined || held === undefined || held.ones === 0) {
      for (const path of [part, journal, recent]) await removeIfThere(path)
      return
    }
    this.#entries.set(file, { held, isComplete: false, part: undefined })
    this.#init.space.count(chunks.bytesIn(held))
  }

  async #heldOf(file: Cid, chunks: ChunkList): Promise<Bitfield> {
    const { part, journal, recent } = this.#init.layout.pathsOf(file)
    const journalled = await readHeld(journal)
    const held = journalled?.length === chunks.count ? journalled : Bitfield.empty(chunks.count)
    await addRecent(recent, part, chunks, held)
    return held
  }

  async #listOf(file: Cid): Promise<ChunkList | undefined> {
    try {
      return await this.#init.catalog.list(file)
    } catch (error) {
      this.#init.logger.warn(`the blocks of file ${file} are damaged: ${messageOf(error)}`)
      return undefined
    }
  }
}

/** The entry of a file of which nothing is there yet. */
export function newEntry(chunks: ChunkList): FsEntry {
  return { held: Bitfield.empty(chunks.count), isComplete: false, part: undefined }
}

/** The part of a file that is complete already: there is nothing to write. */
export function wholePart(file: Cid, chunks: ChunkList, held: Bitfield): Part {
  const nothing = async (): Promise<void> => {}
  return { file, chunks, held, write: nothing, flush: nothing, complete: nothing, close: nothing }
}
