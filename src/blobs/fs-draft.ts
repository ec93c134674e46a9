import { constants } from 'node:fs'
import { copyFile, chmod, open, rename, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { diskError, syncDirectory } from '../core/durable.js'
import type { Cid } from '../core/ids.js'
import type { Draft } from './blob-store.js'
import type { ByteSource } from './chunker.js'
import { removeIfThere, writeFully } from './fs-files.js'
import type { SpaceAccount } from './space-account.js'

/** What a draft needs. */
export interface FsDraftInit {
  readonly path: string
  readonly sizeBytes: number
  readonly space: SpaceAccount
  /** The path of a complete file. */
  readonly pathOf: (file: Cid) => string
  /** Called when the draft has found its identity: moves it into place unless the file is there already. */
  readonly place: (file: Cid, move: () => Promise<void>) => Promise<void>
}

/** A file that is being published, on disk. */
export class FsDraft implements Draft {
  readonly clone: ByteSource | undefined
  readonly #init: FsDraftInit
  readonly #handle: FileHandle
  #isPlaced = false
  #closing: Promise<void> | undefined

  private constructor(init: FsDraftInit, handle: FileHandle, isClone: boolean) {
    this.#init = init
    this.#handle = handle
    this.clone = isClone
      ? { sizeBytes: init.sizeBytes, read: (into, position) => this.#read(into, position) }
      : undefined
  }

  /** Creates the draft: as a clone that shares its blocks with the original, where the file system can. */
  static async create(init: FsDraftInit, cloneOf?: string): Promise<FsDraft> {
    init.space.claim(init.sizeBytes)
    try {
      const isClone = cloneOf !== undefined && (await tryClone(cloneOf, init.path))
      if (isClone) await chmod(init.path, 0o600)
      return new FsDraft(init, await open(init.path, isClone ? 'r+' : 'wx+', 0o600), isClone)
    } catch (error) {
      init.space.release(init.sizeBytes)
      await removeIfThere(init.path)
      throw await diskError(error, init.path, init.sizeBytes)
    }
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    try {
      await writeFully(this.#handle, bytes, position)
    } catch (error) {
      throw await diskError(error, this.#init.path, this.#init.sizeBytes - position)
    }
  }

  async commit(file: Cid): Promise<void> {
    const { path, place, pathOf, sizeBytes } = this.#init
    try {
      await this.#handle.datasync()
      await this.#close()
      await place(file, async () => {
        await chmod(path, 0o444)
        await rename(path, pathOf(file))
        await syncDirectory(dirname(pathOf(file)))
        this.#isPlaced = true
      })
    } catch (error) {
      throw await diskError(error, path, sizeBytes)
    } finally {
      await this.discard()
    }
  }

  async discard(): Promise<void> {
    await this.#close()
    if (this.#isPlaced) return
    this.#isPlaced = true
    await removeIfThere(this.#init.path)
    this.#init.space.release(this.#init.sizeBytes)
  }

  #close(): Promise<void> {
    this.#closing ??= this.#handle.close()
    return this.#closing
  }

  async #read(into: Uint8Array, position: number): Promise<number> {
    const { bytesRead } = await this.#handle.read(into, 0, into.byteLength, position)
    return bytesRead
  }
}

/** Cloning costs nothing and freezes the content; most file systems cannot (ext4), then the bytes are copied while hashed. */
async function tryClone(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL)
    return true
  } catch {
    await removeIfThere(to)
    return false
  }
}
