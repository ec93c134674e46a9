/**
 * The blocks that describe files. All are DAG-CBOR, named by their CID, and every block verifies by itself:
 *
 * ```
 * Manifest     = { version: 1, size, files: [{ name, size, file: link to FileManifest }] }
 * FileManifest = { version: 1, size, chunker: { id, ...constants }, chunkCount, pages: [link to ChunkPage] }
 * ChunkPage    = { digests: bytes (32 a chunk), lengths: bytes (4 a chunk, big-endian) }
 * ```
 *
 * The identity of a file is the CID of its FileManifest: the same file in two manifests is stored once. A page has 4096
 * chunks, only the last may have fewer. Whatever comes from a peer is bounded before it is believed.
 */
import { z } from 'zod'
import { decode, encode } from '../core/codec.js'
import { MurmurateError } from '../core/errors.js'
import type { Cid } from '../core/ids.js'
import { ChunkListBuilder, type ChunkList } from './chunk-list.js'
import { maxChunkBytes, type ChunkerDescription } from './chunker.js'
import { blockLink, cidOf, digestBytes, linkOf } from './cid.js'
import { duplicateName, nameProblem } from './file-name.js'

/** Chunks on a full page: 147 KB, so that a page fits in one message. */
export const chunksPerPage = 4096

/** Bounds on what a peer may make us believe. */
export const manifestLimits = Object.freeze({
  /** A manifest block: 10 000 files with the longest names fit. */
  manifestBytes: 16 * 1024 * 1024,
  /** A FileManifest or ChunkPage: 4096 * 36 bytes and some. */
  blockBytes: 256 * 1024,
  /** Files in a manifest. */
  files: 10_000,
  /** Chunks in a file: its bitfield fits in one frame of 256 KiB. 137 GB at 64 KiB, 549 GB at 256 KiB. */
  chunks: 2 ** 21
})

const lengthBytes = 4

/** A file as a manifest names it. */
export interface ManifestFile {
  /** Display name: a relative POSIX path that never touches a disk. */
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** The CID of its FileManifest. */
  readonly file: Cid
}

/** A set of files. */
export interface Manifest {
  readonly version: 1
  /** Bytes of all files. */
  readonly size: number
  readonly files: readonly ManifestFile[]
}

/** One file, whatever its name. */
export interface FileManifest {
  readonly version: 1
  /** Bytes. */
  readonly size: number
  readonly chunker: ChunkerDescription
  readonly chunkCount: number
  /** The CIDs of its chunk pages, in order. */
  readonly pages: readonly Cid[]
}

/** A block and its name. */
export interface Block {
  readonly cid: Cid
  readonly bytes: Uint8Array
}

const size = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER)

const link = z.unknown().transform((value, context): Cid => {
  const cid = blockLink(value)
  if (cid !== undefined) return cid
  context.addIssue({ code: 'custom', message: 'not a link to a dag-cbor block' })
  return z.NEVER
})

const displayName = z.string().refine((name) => nameProblem(name) === undefined, 'not a plain file name')

const manifestSchema = z
  .strictObject({
    version: z.literal(1),
    size,
    files: z.array(z.strictObject({ name: displayName, size, file: link })).max(manifestLimits.files)
  })
  .refine((manifest) => sum(manifest.files) === manifest.size, 'its size is not the sum of its files')
  .refine((manifest) => duplicateName(manifest.files.map((file) => file.name)) === undefined, 'a name is there twice')

const chunkerSchema = z
  .object({ id: z.string().min(1).max(64) })
  .catchall(z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER))

const fileManifestSchema = z
  .strictObject({
    version: z.literal(1),
    size,
    chunker: chunkerSchema,
    chunkCount: z.number().int().nonnegative().max(manifestLimits.chunks),
    pages: z.array(link).max(manifestLimits.chunks / chunksPerPage)
  })
  .refine((file) => file.pages.length === Math.ceil(file.chunkCount / chunksPerPage), 'wrong number of pages')
  .refine(
    (file) => file.chunkCount <= file.size && file.size <= file.chunkCount * maxChunkBytes,
    'size does not fit its chunks'
  )

const pageSchema = z.strictObject({ digests: z.instanceof(Uint8Array), lengths: z.instanceof(Uint8Array) })

function sum(files: readonly { readonly size: number }[]): number {
  return files.reduce((total, file) => total + file.size, 0)
}

function blockOf(value: unknown): Block {
  const bytes = encode(value)
  return { cid: cidOf(bytes), bytes }
}

/** The block of a manifest of these files. Their order is kept. */
export function encodeManifest(files: readonly ManifestFile[]): Block {
  const entries = files.map((entry) => ({ name: entry.name, size: entry.size, file: linkOf(entry.file) }))
  return blockOf({ version: 1, size: sum(files), files: entries })
}

/** @throws MurmurateError `MALFORMED` */
export function decodeManifest(bytes: Uint8Array): Manifest {
  return decode(bytes, manifestSchema, { maxBytes: manifestLimits.manifestBytes, what: 'A manifest' })
}

/**
 * The blocks of a file: first its FileManifest, then its pages.
 *
 * @throws MurmurateError `INVALID_REQUEST` when the file has more chunks than the format allows
 */
export function encodeFile(chunks: ChunkList, chunker: ChunkerDescription): readonly [file: Block, ...pages: Block[]] {
  if (chunks.count > manifestLimits.chunks) {
    throw new MurmurateError(
      'INVALID_REQUEST',
      `A file of ${chunks.count} chunks; the format allows ${manifestLimits.chunks}`
    )
  }
  const pages: Block[] = []
  for (let first = 0; first < chunks.count; first += chunksPerPage) pages.push(encodePage(chunks, first))
  const file = blockOf({
    version: 1,
    size: chunks.sizeBytes,
    chunker,
    chunkCount: chunks.count,
    pages: pages.map((page) => linkOf(page.cid))
  })
  return [file, ...pages]
}

function encodePage(chunks: ChunkList, first: number): Block {
  const last = Math.min(first + chunksPerPage, chunks.count)
  const lengths = Buffer.alloc((last - first) * lengthBytes)
  for (let chunk = first; chunk < last; chunk++)
    lengths.writeUInt32BE(chunks.length(chunk), (chunk - first) * lengthBytes)
  const digests = chunks.digests.subarray(first * digestBytes, last * digestBytes)
  return blockOf({ digests: new Uint8Array(digests), lengths: new Uint8Array(lengths) })
}

/** @throws MurmurateError `MALFORMED` */
export function decodeFileManifest(bytes: Uint8Array): FileManifest {
  return decode(bytes, fileManifestSchema, { maxBytes: manifestLimits.blockBytes, what: 'A file manifest' })
}

/**
 * Puts the chunk list of a file together from its pages, in order.
 *
 * @throws MurmurateError `MALFORMED` when a page is not as long as it should be, a chunk is empty or too long, or the lengths
 * do not add up to the size of the file
 */
export function decodeChunkList(file: FileManifest, pages: readonly Uint8Array[]): ChunkList {
  const list = new ChunkListBuilder()
  pages.forEach((bytes, index) => {
    const expected = Math.min(chunksPerPage, file.chunkCount - index * chunksPerPage)
    addPage(list, bytes, expected)
  })
  if (list.count === file.chunkCount && list.sizeBytes === file.size) return list.build()
  throw new MurmurateError(
    'MALFORMED',
    `The chunks of a file add up to ${list.sizeBytes} bytes instead of ${file.size}`
  )
}

function addPage(list: ChunkListBuilder, bytes: Uint8Array, expected: number): void {
  const page = decode(bytes, pageSchema, { maxBytes: manifestLimits.blockBytes, what: 'A chunk page' })
  if (page.digests.byteLength !== expected * digestBytes || page.lengths.byteLength !== expected * lengthBytes) {
    throw new MurmurateError('MALFORMED', `A chunk page does not have the ${expected} chunks that it should`)
  }
  const lengths = Buffer.from(page.lengths.buffer, page.lengths.byteOffset, page.lengths.byteLength)
  for (let chunk = 0; chunk < expected; chunk++) {
    const length = lengths.readUInt32BE(chunk * lengthBytes)
    if (length === 0 || length > maxChunkBytes) throw new MurmurateError('MALFORMED', `A chunk of ${length} bytes`)
    list.add(page.digests.subarray(chunk * digestBytes, (chunk + 1) * digestBytes), length)
  }
}
