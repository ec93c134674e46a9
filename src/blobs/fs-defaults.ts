import type { Environment } from '../core/environment.js'
import type { Logger } from '../core/logger.js'

/** Knobs of the store on disk. */
export interface FsBlobStoreInit {
  /** The directory that is all its own, by convention `<dataDir>/blobs`. Created when absent. */
  readonly directory: string
  readonly environment: Environment
  readonly logger?: Logger | undefined
  /** The declared limit, in bytes: it then has room for no more, however large the disk. @default none */
  readonly capacityBytes?: number | undefined
  /** Data of a part is synced after this many bytes. @default 67108864 */
  readonly syncBytes?: number
  /** Or after this many milliseconds. @default 2000 */
  readonly syncMs?: number
  /** Most chunks in the index of local chunks, at 18 to 36 bytes each. @default 1000000 */
  readonly maxIndexedChunks?: number
}

/**
 * Defaults. A crash costs at most what was not synced: 64 MiB take half a second to fetch again on a gigabit link, and
 * syncing more often than every 2 s costs a disk with spinning plates a tenth of its time. A million chunks are 256 GB at
 * 256 KiB each.
 */
export const fsBlobStoreDefaults = Object.freeze({
  syncBytes: 64 * 1024 * 1024,
  syncMs: 2000,
  maxIndexedChunks: 1_000_000
})
