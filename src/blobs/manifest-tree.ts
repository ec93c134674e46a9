import { MurmurateError } from '../core/errors.js'
import type { Cid } from '../core/ids.js'
import type { ChunkList } from './chunk-list.js'
import { decodeChunkList, decodeFileManifest, decodeManifest, type FileManifest, type Manifest } from './manifest.js'

/** Gets a block by its CID: from a store, or from peers. Undefined when it is not there. */
export type GetBlock = (cid: Cid) => Promise<Uint8Array | undefined>

/** Pages asked for at the same time: enough to fill a link, 600 KB in memory. */
const pagesAtOnce = 4

/** Reads a manifest; undefined when its block is not there. */
export async function loadManifest(getBlock: GetBlock, manifest: Cid): Promise<Manifest | undefined> {
  const bytes = await getBlock(manifest)
  return bytes === undefined ? undefined : decodeManifest(bytes)
}

/** Reads the head of a file; undefined when its block is not there. */
async function loadFileManifest(getBlock: GetBlock, file: Cid): Promise<FileManifest | undefined> {
  const bytes = await getBlock(file)
  return bytes === undefined ? undefined : decodeFileManifest(bytes)
}

/**
 * Reads the chunk list of a file; undefined when one of its blocks is not there.
 *
 * @param expectedBytes - the size that the manifest gives for this file
 * @throws MurmurateError `MALFORMED`
 */
export async function loadChunkList(
  getBlock: GetBlock,
  file: Cid,
  expectedBytes?: number
): Promise<ChunkList | undefined> {
  const head = await loadFileManifest(getBlock, file)
  if (head === undefined) return undefined
  if (expectedBytes !== undefined && head.size !== expectedBytes) {
    throw new MurmurateError('MALFORMED', `File ${file} has ${head.size} bytes, its manifest says ${expectedBytes}`)
  }
  const pages: Uint8Array[] = []
  for (let first = 0; first < head.pages.length; first += pagesAtOnce) {
    const some = await Promise.all(head.pages.slice(first, first + pagesAtOnce).map(getBlock))
    for (const page of some) {
      if (page === undefined) return undefined
      pages.push(page)
    }
  }
  return decodeChunkList(head, pages)
}

/** All blocks that a manifest is made of and that are here: itself, its files and their pages. */
export async function blocksOf(getBlock: GetBlock, manifest: Cid): Promise<Set<Cid>> {
  const blocks = new Set<Cid>([manifest])
  const root = await loadManifest(getBlock, manifest)
  for (const { file } of root?.files ?? []) {
    if (blocks.has(file)) continue
    blocks.add(file)
    const head = await loadFileManifest(getBlock, file)
    for (const page of head?.pages ?? []) blocks.add(page)
  }
  return blocks
}
