import { MurmurateError } from '../core/errors.js'
import type { Cid } from '../core/ids.js'
import { Bitfield } from './bitfield.js'
import type { BlockFetcher, BlockOptions } from './block-fetcher.js'
import type { BlobStore } from './blob-store.js'
import { reusableBytes } from './local-reuse.js'
import { decodeManifest, manifestLimits } from './manifest.js'
import { loadChunkList } from './manifest-tree.js'
import type { TransferPlan } from './progress.js'
import { throwIfAborted } from '../core/abort.js'

/** What one file of a manifest needs. */
export interface FilePlan extends TransferPlan {
  readonly file: Cid
  readonly isComplete: boolean
}

/** How to get blocks while planning. */
export type PlanOptions = Omit<BlockOptions, 'maxBytes'>

/**
 * Finds out, for each file of a manifest, what is here, what other local files have, and what is missing. Gets the blocks
 * that describe them from peers, where they are not here, and keeps them.
 *
 * @throws MurmurateError `BLOB_NOT_FOUND`, `MALFORMED`, `ABORTED`
 */
export async function planFiles(
  components: { readonly store: BlobStore; readonly blocks: BlockFetcher },
  manifest: Cid,
  options: PlanOptions
): Promise<readonly FilePlan[]> {
  const { store, blocks } = components
  const root = decodeManifest(await blocks.get(manifest, { ...options, maxBytes: manifestLimits.manifestBytes }))
  const getBlock = (cid: Cid): Promise<Uint8Array> =>
    blocks.get(cid, { ...options, maxBytes: manifestLimits.blockBytes })
  const plans = new Map<Cid, FilePlan>()
  for (const { file, size } of root.files) {
    throwIfAborted(options.signal)
    const known = plans.get(file)
    if (known !== undefined && known.totalBytes !== size)
      throw new MurmurateError('MALFORMED', `File ${file} with two sizes`)
    if (known === undefined) plans.set(file, await planFile(store, getBlock, file, size))
  }
  return [...plans.values()]
}

async function planFile(
  store: BlobStore,
  getBlock: (cid: Cid) => Promise<Uint8Array>,
  file: Cid,
  totalBytes: number
): Promise<FilePlan> {
  const chunks = await loadChunkList(getBlock, file, totalBytes)
  if (chunks === undefined) throw new MurmurateError('BLOB_NOT_FOUND', `The blocks of file ${file} are not here`)
  const state = await store.state(file)
  const isComplete = state?.isComplete === true
  const held = state?.held ?? Bitfield.empty(chunks.count)
  const heldBytes = isComplete ? totalBytes : chunks.bytesIn(held)
  const reusable = isComplete ? 0 : await reusableBytes(store, chunks, held)
  return {
    file,
    isComplete,
    totalBytes,
    heldBytes,
    reusableBytes: reusable,
    missingBytes: totalBytes - heldBytes - reusable
  }
}

/** The plan of all files together. */
export function totalOf(plans: readonly TransferPlan[]): TransferPlan {
  const sum = (field: keyof TransferPlan): number => plans.reduce((total, plan) => total + plan[field], 0)
  return {
    totalBytes: sum('totalBytes'),
    heldBytes: sum('heldBytes'),
    reusableBytes: sum('reusableBytes'),
    missingBytes: sum('missingBytes')
  }
}
