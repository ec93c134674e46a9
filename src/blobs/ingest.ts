import { open, stat, type FileHandle } from 'node:fs/promises'
import type { BigIntStats } from 'node:fs'
import type { AbortOptions } from '../core/abort.js'
import { MurmurateError, messageOf, systemCode } from '../core/errors.js'
import type { BlobStore, Draft } from './blob-store.js'
import { chunkFile, cutterFor, type ByteSource } from './chunker.js'
import { checkNames } from './file-name.js'
import { encodeFile, encodeManifest, manifestLimits, type Block, type ManifestFile } from './manifest.js'

/** A file to publish. */
export interface IngestFile {
  /** Display name: a relative POSIX path, unique when capitals are ignored. */
  readonly name: string
  /** Where it is on this machine. */
  readonly path: string
}

/** How far publishing has come, in bytes. */
export interface IngestProgress {
  readonly totalBytes: number
  readonly hashedBytes: number
}

/** Options of publishing. */
export interface IngestOptions extends AbortOptions {
  readonly onProgress?: ((progress: IngestProgress) => void) | undefined
}

/** The manifest of published files. */
export interface Ingested {
  readonly block: Block
  readonly files: readonly ManifestFile[]
}

interface Opened extends IngestFile {
  readonly handle: FileHandle
  readonly before: BigIntStats
}

/**
 * Cuts, hashes and copies files into a store, one after the other, in one pass each. The manifest block itself is put too.
 * When one fails, files that came before it stay in the store without a manifest that names them, unless the caller removes them.
 *
 * @throws MurmurateError `INVALID_REQUEST` for names and paths, `FILE_CHANGED`, `INSUFFICIENT_STORAGE`, `ABORTED`
 */
export async function ingestFiles(
  store: BlobStore,
  files: readonly IngestFile[],
  options: IngestOptions = {}
): Promise<Ingested> {
  if (files.length > manifestLimits.files)
    throw new MurmurateError('INVALID_REQUEST', `More than ${manifestLimits.files} files`)
  checkNames(files.map((file) => file.name))
  const totalBytes = await sizeOf(files)
  const done: ManifestFile[] = []
  let hashedBytes = 0
  for (const file of files) {
    const onProgress = (bytes: number): void => options.onProgress?.({ totalBytes, hashedBytes: hashedBytes + bytes })
    const entry = await ingestFile(store, file, { signal: options.signal, onProgress })
    hashedBytes += entry.size
    done.push(entry)
  }
  const block = encodeManifest(done)
  await store.putBlock(block.cid, block.bytes)
  return { block, files: done }
}

async function sizeOf(files: readonly IngestFile[]): Promise<number> {
  let bytes = 0
  for (const { path } of files) {
    const stats = await stat(path).catch((cause: unknown) => {
      throw new MurmurateError('INVALID_REQUEST', `${path}: ${messageOf(cause)}`, { details: { path }, cause })
    })
    if (!stats.isFile()) throw new MurmurateError('INVALID_REQUEST', `${path} is not a file`, { details: { path } })
    bytes += stats.size
  }
  return bytes
}

type FileOptions = AbortOptions & { readonly onProgress: (hashedBytes: number) => void }

async function ingestFile(store: BlobStore, file: IngestFile, options: FileOptions): Promise<ManifestFile> {
  const handle = await open(file.path, 'r').catch((cause: unknown) => {
    if (systemCode(cause) === 'ENOENT') throw changed(file.path, 'it disappeared')
    throw new MurmurateError('INVALID_REQUEST', `${file.path}: ${messageOf(cause)}`, {
      details: { path: file.path },
      cause
    })
  })
  try {
    const opened = { ...file, handle, before: await handle.stat({ bigint: true }) }
    const draft = await store.createDraft(Number(opened.before.size), file.path)
    try {
      return await fillDraft(store, opened, draft, options)
    } finally {
      await draft.discard()
    }
  } finally {
    await handle.close()
  }
}

async function fillDraft(store: BlobStore, opened: Opened, draft: Draft, options: FileOptions): Promise<ManifestFile> {
  const source = draft.clone ?? sourceOf(opened)
  const cutter = await cutterFor(source)
  const chunks = await chunkFile(source, cutter, { ...options, sink: draft.clone === undefined ? draft : undefined })
  await assertUnchanged(opened, chunks.sizeBytes)
  const [head, ...pages] = encodeFile(chunks, cutter.description)
  for (const block of [...pages, head]) await store.putBlock(block.cid, block.bytes)
  await draft.commit(head.cid)
  return { name: opened.name, size: chunks.sizeBytes, file: head.cid }
}

function sourceOf({ handle, before }: Opened): ByteSource {
  return {
    sizeBytes: Number(before.size),
    read: async (into, position) => (await handle.read(into, 0, into.byteLength, position)).bytesRead
  }
}

/** What was read must be one state of the file: neither this file nor what the path names may have changed meanwhile. */
async function assertUnchanged({ handle, before, path }: Opened, readBytes: number): Promise<void> {
  const after = await handle.stat({ bigint: true })
  const named = await stat(path, { bigint: true }).catch(() => undefined)
  if (named === undefined) throw changed(path, 'it disappeared')
  if (named.ino !== before.ino || named.dev !== before.dev) throw changed(path, 'another file took its place')
  if (after.size !== before.size || BigInt(readBytes) !== before.size) throw changed(path, 'its size changed')
  if (after.mtimeNs !== before.mtimeNs || after.ctimeNs !== before.ctimeNs) throw changed(path, 'it was written to')
}

function changed(path: string, how: string): MurmurateError {
  return new MurmurateError('FILE_CHANGED', `${path}: ${how} while it was read`, { details: { path } })
}
