/**
 * Cuts a file into chunks and hashes them in one pass, in a few megabytes of memory whatever the size of the file.
 */
import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { ChunkListBuilder, type ChunkList } from './chunk-list.js'
import { digestOf } from './cid.js'
import { fastCdcCut, fastCdcParameters } from './fastcdc.js'
import { tensorCutParameters, tensorCuts, tensorHeaderBytes, tensorHeaderStart } from './tensor-layout.js'

/** Largest chunk of any chunker: stays in the processor's cache between hashing and sending (1 MiB was 40 % slower). */
export const maxChunkBytes = 256 * 1024

/**
 * Bytes read at a time. 4 MiB keep the disk busy, and hashing them takes less than 4 ms, so that the event loop is not held
 * up for longer.
 */
const readBytes = 4 * 1024 * 1024

/** Which chunker cut a file, with its constants; recorded in the manifest. */
export type ChunkerDescription = { readonly id: string } & Readonly<Record<string, number | string>>

/** Finds the next cut. */
export interface Cutter {
  readonly description: ChunkerDescription
  /**
   * Length of the chunk that begins at `start`, in bytes. `end` is where the known bytes end: either at least `maxChunkBytes`
   * later, or the end of the file. Called once for each chunk, in order.
   */
  next(bytes: Uint8Array, start: number, end: number): number
}

/** Something that can be read at any place. */
export interface ByteSource {
  readonly sizeBytes: number
  /** Reads up to `into.byteLength` bytes at a position; fewer only at the end. */
  read(into: Uint8Array, position: number): Promise<number>
}

/** Where bytes go while they are hashed. */
export interface ByteSink {
  /** Takes the bytes at a position. They may change after it resolves. */
  write(bytes: Uint8Array, position: number): Promise<void>
}

/** Options of the pass over a file. */
export interface ChunkFileOptions extends AbortOptions {
  /** Also gets all bytes, in order. */
  readonly sink?: ByteSink | undefined
  /** Hears how many bytes have been hashed so far. */
  readonly onProgress?: ((hashedBytes: number) => void) | undefined
}

/** Cuts by content: any file. */
export function contentCutter(): Cutter {
  return { description: { id: 'fastcdc', ...fastCdcParameters }, next: fastCdcCut }
}

/** Cuts at given lengths: a file with a known layout. */
function layoutCutter(cuts: Float64Array): Cutter {
  let chunk = 0
  return {
    description: { id: 'tensors', ...tensorCutParameters },
    next: (_bytes, start, end) => Math.min(cuts[chunk++] ?? maxChunkBytes, end - start)
  }
}

/** Chooses the chunker: at tensors when the file has a sound safetensors header, else by content. */
export async function cutterFor(source: ByteSource): Promise<Cutter> {
  const start = await readWhole(source, 0, Math.min(tensorHeaderStart, source.sizeBytes))
  const headerBytes = tensorHeaderBytes(start, source.sizeBytes)
  if (headerBytes === undefined) return contentCutter()
  const header = await readWhole(source, tensorHeaderStart, headerBytes)
  const cuts = tensorCuts(header, source.sizeBytes)
  return cuts === undefined ? contentCutter() : layoutCutter(cuts)
}

async function readWhole(source: ByteSource, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  const got = await readFully(source, bytes, position)
  return bytes.subarray(0, got)
}

/** Reads until the buffer is full or the source ends. */
async function readFully(source: ByteSource, into: Uint8Array, position: number): Promise<number> {
  let got = 0
  while (got < into.byteLength) {
    const read = await source.read(into.subarray(got), position + got)
    if (read === 0) break
    got += read
  }
  return got
}

/**
 * A buffer that is used again: what was left over of the block before stands right in front of the fresh block, so that a
 * chunk that spans both is in one piece.
 */
class Block {
  readonly #buffer = new Uint8Array(maxChunkBytes + readBytes)
  #start = maxChunkBytes
  #end = maxChunkBytes

  get unread(): Uint8Array {
    return this.#buffer.subarray(this.#start, this.#end)
  }

  async fill(source: ByteSource, position: number): Promise<Uint8Array> {
    const wanted = Math.min(readBytes, source.sizeBytes - position)
    const fresh = this.#buffer.subarray(maxChunkBytes, maxChunkBytes + wanted)
    const got = await readFully(source, fresh, position)
    this.#start = maxChunkBytes
    this.#end = maxChunkBytes + got
    return fresh.subarray(0, got)
  }

  prepend(rest: Uint8Array): void {
    this.#start = maxChunkBytes - rest.byteLength
    this.#buffer.set(rest, this.#start)
  }

  /** Cuts and hashes all chunks that are surely whole. */
  cutInto(list: ChunkListBuilder, cutter: Cutter, isLast: boolean): void {
    while (this.#end - this.#start >= (isLast ? 1 : maxChunkBytes)) {
      const length = cutter.next(this.#buffer, this.#start, this.#end)
      list.add(digestOf(this.#buffer.subarray(this.#start, this.#start + length)), length)
      this.#start += length
    }
  }
}

/**
 * Cuts and hashes a whole source. Reading the next block and writing this one run while this one is hashed. When the source
 * turns out shorter than its `sizeBytes`, the list covers what was there.
 *
 * @throws MurmurateError `ABORTED`; and whatever the source or the sink throws
 */
export async function chunkFile(
  source: ByteSource,
  cutter: Cutter,
  options: ChunkFileOptions = {}
): Promise<ChunkList> {
  const list = new ChunkListBuilder()
  let [current, following] = [new Block(), new Block()]
  let position = 0
  let fresh = await current.fill(source, position)
  while (fresh.byteLength > 0) {
    throwIfAborted(options.signal)
    const next = position + fresh.byteLength
    const reading = following.fill(source, next)
    const writing = options.sink?.write(fresh, position)
    // The following block is not known yet: a chunk is cut here only when it cannot reach into it.
    current.cutInto(list, cutter, next >= source.sizeBytes)
    const [bytes] = await Promise.all([reading, writing])
    following.prepend(current.unread)
    ;[current, following] = [following, current]
    position = next
    fresh = bytes
    options.onProgress?.(list.sizeBytes)
  }
  if (current.unread.byteLength > 0) current.cutInto(list, cutter, true)
  return list.build()
}
