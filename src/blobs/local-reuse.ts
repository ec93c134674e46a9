import { throwIfAborted } from '../core/abort.js'
import { errorCode } from '../core/errors.js'
import type { BlobStore, ChunkPlace, Part } from './blob-store.js'
import type { ChunkList } from './chunk-list.js'
import type { Bitfield } from './bitfield.js'
import { digestBytes } from './cid.js'
import { forEachLimited } from './semaphore.js'

/** Chunks looked up at a time: 32 KB of digests. */
const batchChunks = 1024

interface Batch {
  readonly chunks: readonly number[]
  readonly digests: Uint8Array
}

/** How to copy. */
export interface ReuseOptions {
  readonly signal: AbortSignal
  /** Chunks copied at the same time. */
  readonly concurrency: number
  /** Told of each chunk that was copied. */
  readonly onChunk: (chunk: number) => void
}

/** Bytes of the missing chunks that some local file has. */
export async function reusableBytes(store: BlobStore, chunks: ChunkList, held: Bitfield): Promise<number> {
  let bytes = 0
  for (const batch of missingBatches(chunks, held)) {
    const places = await store.locate(batch.digests)
    places.forEach((place, index) => (bytes += place === undefined ? 0 : chunks.length(batch.chunks[index] ?? -1)))
  }
  return bytes
}

/** Copies the missing chunks that some local file has; each is verified when it is read, one that fails stays missing. */
export async function reuseLocal(store: BlobStore, part: Part, options: ReuseOptions): Promise<void> {
  for (const batch of missingBatches(part.chunks, part.held)) {
    const places = await store.locate(batch.digests)
    await forEachLimited(places.entries(), options.concurrency, async ([index, place]) => {
      throwIfAborted(options.signal)
      const chunk = batch.chunks[index]
      if (chunk !== undefined && place !== undefined && (await copy(store, part, chunk, place))) options.onChunk(chunk)
    })
  }
}

async function copy(store: BlobStore, part: Part, chunk: number, place: ChunkPlace): Promise<boolean> {
  const bytes = await store.readChunk(place.file, place.chunk).catch((error: unknown) => {
    const code = errorCode(error)
    if (code === 'BLOB_CORRUPT' || code === 'BLOB_NOT_FOUND') return undefined
    throw error
  })
  if (bytes === undefined) return false
  // The store has just compared these bytes with the same digest.
  await part.write(chunk, bytes, { isVerified: true })
  return true
}

function* missingBatches(chunks: ChunkList, held: Bitfield): Generator<Batch> {
  let numbers: number[] = []
  for (const chunk of held.zeros()) {
    numbers.push(chunk)
    if (numbers.length < batchChunks) continue
    yield batchOf(chunks, numbers)
    numbers = []
  }
  if (numbers.length > 0) yield batchOf(chunks, numbers)
}

function batchOf(list: ChunkList, chunks: readonly number[]): Batch {
  const digests = new Uint8Array(chunks.length * digestBytes)
  chunks.forEach((chunk, index) => digests.set(list.digest(chunk), index * digestBytes))
  return { chunks, digests }
}
