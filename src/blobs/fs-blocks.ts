import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { diskError, syncDirectory } from '../core/durable.js'
import { MurmurateError, systemCode } from '../core/errors.js'
import type { Cid } from '../core/ids.js'
import { matches } from './cid.js'
import { listWithoutDrafts, removeIfThere, replaceFile } from './fs-files.js'
import { cidsIn, type FsLayout } from './fs-layout.js'
import type { SpaceAccount } from './space-account.js'

/** The small blocks of a store on disk, a file each, and the marks of the manifests to keep. */
export class FsBlocks {
  readonly #blocks: string
  readonly #roots: string
  readonly #space: SpaceAccount
  readonly #kept = new Set<Cid>()

  constructor(layout: FsLayout, space: SpaceAccount) {
    this.#blocks = layout.blocks
    this.#roots = layout.roots
    this.#space = space
  }

  /** Reads the marks, counts the blocks, and removes what a crash left half written. */
  async start(): Promise<void> {
    this.#kept.clear()
    for (const name of await listWithoutDrafts(this.#blocks))
      this.#space.count((await stat(join(this.#blocks, name))).size)
    for (const manifest of cidsIn(await listWithoutDrafts(this.#roots))) this.#kept.add(manifest)
  }

  /** See `BlobStore.putBlock`; one call at a time for each CID. */
  async put(cid: Cid, bytes: Uint8Array): Promise<void> {
    if (!matches(cid, bytes)) throw new MurmurateError('BLOB_CORRUPT', `The bytes are not those of block ${cid}`)
    if ((await this.get(cid)) !== undefined) return
    this.#space.claim(bytes.byteLength)
    try {
      await replaceFile(join(this.#blocks, cid), bytes)
    } catch (error) {
      this.#space.release(bytes.byteLength)
      throw await diskError(error, join(this.#blocks, cid), bytes.byteLength)
    }
  }

  /** See `BlobStore.getBlock`. A block that does not verify is as good as absent, and is overwritten when it comes again. */
  async get(cid: Cid): Promise<Uint8Array | undefined> {
    const path = join(this.#blocks, cid)
    try {
      const bytes = await readFile(path)
      return matches(cid, bytes) ? bytes : undefined
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined
      throw await diskError(error, path, 0)
    }
  }

  /** See `BlobStore.removeBlock`. */
  async remove(cid: Cid): Promise<void> {
    const path = join(this.#blocks, cid)
    const bytes = await this.get(cid)
    await removeIfThere(path)
    this.#space.release(bytes?.byteLength ?? 0)
  }

  /** See `BlobStore.keep`. */
  async keep(manifest: Cid): Promise<void> {
    if (this.#kept.has(manifest)) return
    const path = join(this.#roots, manifest)
    try {
      await syncDirectory(this.#blocks)
      await replaceFile(path, new Uint8Array(0))
      await syncDirectory(this.#roots)
    } catch (error) {
      throw await diskError(error, path, 0)
    }
    this.#kept.add(manifest)
  }

  /** See `BlobStore.forget`. */
  async forget(manifest: Cid): Promise<void> {
    this.#kept.delete(manifest)
    await removeIfThere(join(this.#roots, manifest))
    await syncDirectory(this.#roots)
  }

  /** See `BlobStore.kept`. */
  kept(): readonly Cid[] {
    return [...this.#kept]
  }
}
