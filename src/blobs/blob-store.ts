import { MurmurateError } from '../core/errors.js'
import type { Cid } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import type { Bitfield } from './bitfield.js'
import type { ChunkList } from './chunk-list.js'
import type { ByteSink, ByteSource } from './chunker.js'

/** Where a chunk lies. */
export interface ChunkPlace {
  readonly file: Cid
  readonly chunk: number
}

/** What the store has of a file. */
export interface FileState {
  readonly file: Cid
  readonly chunks: ChunkList
  /** The chunks that it has. Live: changes as chunks come in. Do not write to it. */
  readonly held: Bitfield
  /** Whether it is whole and has a path. */
  readonly isComplete: boolean
}

/** A file in the making. Opening the same one twice gives the same part; it is freed when each has been closed. */
export interface Part {
  readonly file: Cid
  readonly chunks: ChunkList
  /** The chunks that are held. Live. A bit may fall back to zero when the disk fails. Do not write to it. */
  readonly held: Bitfield
  /**
   * Writes a chunk. Once it resolves the chunk is served and survives the death of the process within a few seconds; an
   * error leaves it missing. Chunks may be written in any order and at the same time.
   *
   * @param options - `isVerified`: the caller has just compared the digest, do not hash again
   * @throws MurmurateError `BLOB_CORRUPT` when the bytes are not those of the chunk, `INSUFFICIENT_STORAGE`, `DATA_DIR_UNREADABLE`
   */
  write(chunk: number, bytes: Uint8Array, options?: { readonly isVerified?: boolean }): Promise<void>
  /** Makes what was written survive a power cut. */
  flush(): Promise<void>
  /**
   * Puts the whole file in its place, durably; then it has a path, and the part is closed.
   *
   * @throws MurmurateError `BLOB_NOT_FOUND` when chunks are missing
   */
  complete(): Promise<void>
  /** Flushes and lets go; the part stays and can be opened again. Idempotent. */
  close(): Promise<void>
}

/** A file that is being published: its identity is known only when it has been read to the end. */
export interface Draft extends ByteSink {
  /** When the store could clone the original without copying: the frozen bytes to hash instead of the original. */
  readonly clone: ByteSource | undefined
  /** Puts it in its place, durably, under the identity found; its blocks were put before. Ends the draft. */
  commit(file: Cid): Promise<void>
  /** Throws it away. Harmless after commit. */
  discard(): Promise<void>
}

/** Room in a store, in bytes. */
export interface Space {
  /** What can still be written: the least of the disk's free space and what is left of the declared capacity. */
  readonly availableBytes: number
  /** What the store holds. */
  readonly usedBytes: number
}

/**
 * Where bytes rest. Holds three kinds of thing: small *blocks* that describe files, *files* whole or in part, and the set of
 * manifests to *keep*. Nothing that fails its digest ever comes out. The methods may be called at the same time.
 */
export interface BlobStore extends Startable {
  /**
   * Keeps a block.
   *
   * @throws MurmurateError `BLOB_CORRUPT` when the bytes are not those of the CID
   */
  putBlock(cid: Cid, bytes: Uint8Array): Promise<void>
  /** A block; undefined when it is not here or does not verify any more. */
  getBlock(cid: Cid): Promise<Uint8Array | undefined>
  /** Removes a block, if it is there. */
  removeBlock(cid: Cid): Promise<void>

  /** Marks a manifest as wanted, durably. */
  keep(manifest: Cid): Promise<void>
  /** Takes the mark away. */
  forget(manifest: Cid): Promise<void>
  /** The manifests that are wanted. */
  kept(): readonly Cid[]

  /**
   * Begins to publish a file.
   *
   * @param cloneOf - path of the original, so that a file system that can share blocks need not copy
   * @throws MurmurateError `INSUFFICIENT_STORAGE`
   */
  createDraft(sizeBytes: number, cloneOf?: string): Promise<Draft>
  /**
   * Creates a part, or goes on with one. A complete file in which a chunk has rotted becomes a part again.
   *
   * @throws MurmurateError `BLOB_NOT_FOUND` when the file's blocks are not here
   */
  openPart(file: Cid): Promise<Part>
  /** What is here of a file; undefined when nothing is, or when its blocks are missing. */
  state(file: Cid): Promise<FileState | undefined>
  /**
   * The bytes of a chunk, verified. One that fails is counted as missing from then on, so that it is fetched again.
   *
   * @throws MurmurateError `BLOB_NOT_FOUND` when it is not held, `BLOB_CORRUPT` when it does not verify any more
   */
  readChunk(file: Cid, chunk: number): Promise<Uint8Array>
  /** Where a complete file can be read by others; undefined when it is not complete. (In memory: not a path.) */
  path(file: Cid): string | undefined
  /** The files of which something is here. */
  files(): readonly Cid[]
  /** Removes a file or part, if it is there. The caller sees to it that nobody is writing it. */
  removeFile(file: Cid): Promise<void>
  /**
   * Looks chunks up in all complete files, whatever their version or name.
   *
   * @param digests - 32 bytes each, packed
   * @returns for each, one place that should have it (reading verifies), or undefined
   */
  locate(digests: Uint8Array): Promise<readonly (ChunkPlace | undefined)[]>
  /** How much room there is. */
  space(): Promise<Space>
}

/** The error for a chunk that is not what it should be. */
export function corruptChunk(file: Cid, chunk: number, cause?: unknown): MurmurateError {
  return new MurmurateError('BLOB_CORRUPT', `Chunk ${chunk} of file ${file} does not verify`, {
    details: { file, chunk },
    cause
  })
}

/** The error for a chunk that is not held. */
export function missingChunk(file: Cid, chunk: number): MurmurateError {
  return new MurmurateError('BLOB_NOT_FOUND', `Chunk ${chunk} of file ${file} is not here`, {
    details: { file, chunk }
  })
}
