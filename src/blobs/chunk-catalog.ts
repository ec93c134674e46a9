import { equalBytes } from '../core/codec.js'
import type { Cid } from '../core/ids.js'
import type { ChunkPlace } from './blob-store.js'
import { ChunkIndex } from './chunk-index.js'
import type { ChunkList } from './chunk-list.js'
import { digestBytes } from './cid.js'
import { loadChunkList, type GetBlock } from './manifest-tree.js'

/** Chunks whose lists stay in memory, at 40 bytes each: 20 MB. One longer list is kept alone. */
const cachedChunks = 500_000

/** Knows the chunk lists of the files in a store, and which chunk lies where. */
export class ChunkCatalog {
  readonly #getBlock: GetBlock
  readonly #index: ChunkIndex
  /** Least recently used first. */
  readonly #lists = new Map<Cid, ChunkList>()
  #listedChunks = 0

  constructor(getBlock: GetBlock, maxIndexedChunks?: number) {
    this.#getBlock = getBlock
    this.#index = new ChunkIndex(maxIndexedChunks)
  }

  /** The chunk list of a file; undefined when a block of it is missing or damaged. */
  async list(file: Cid): Promise<ChunkList | undefined> {
    const known = this.#lists.get(file)
    if (known !== undefined) {
      this.#lists.delete(file)
      this.#lists.set(file, known)
      return known
    }
    const list = await loadChunkList(this.#getBlock, file)
    if (list !== undefined) this.#remember(file, list)
    return list
  }

  /** Makes the chunks of a complete file findable. */
  async add(file: Cid): Promise<void> {
    const list = await this.list(file)
    if (list !== undefined) this.#index.add(file, list)
  }

  /** Forgets a file. */
  remove(file: Cid): void {
    this.#index.remove(file)
    this.#drop(file)
  }

  /** For each digest (32 bytes each, packed), a place that should have it. */
  async locate(digests: Uint8Array): Promise<readonly (ChunkPlace | undefined)[]> {
    const places: (ChunkPlace | undefined)[] = []
    const count = digests.byteLength / digestBytes
    for (let index = 0; index < count; index++) places.push(await this.#confirmed(digests, index))
    return places
  }

  async #confirmed(digests: Uint8Array, index: number): Promise<ChunkPlace | undefined> {
    const digest = digests.subarray(index * digestBytes, (index + 1) * digestBytes)
    for (const place of this.#index.candidates(digests, index)) {
      const list = this.#lists.get(place.file) ?? (await this.list(place.file))
      if (list !== undefined && equalBytes(list.digest(place.chunk), digest)) return place
    }
    return undefined
  }

  #remember(file: Cid, list: ChunkList): void {
    if (this.#lists.has(file)) return
    this.#lists.set(file, list)
    this.#listedChunks += list.count
    for (const oldest of this.#lists.keys()) {
      if (this.#listedChunks <= cachedChunks || oldest === file) break
      this.#drop(oldest)
    }
  }

  #drop(file: Cid): void {
    this.#listedChunks -= this.#lists.get(file)?.count ?? 0
    this.#lists.delete(file)
  }
}
