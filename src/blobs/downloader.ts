import { raceSignal, throwIfAborted, type AbortOptions } from '../core/abort.js'
import { every, type Environment, type Timer } from '../core/environment.js'
import { MurmurateError, messageOf } from '../core/errors.js'
import type { Cid, NodeId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import type { Network } from '../net/network.js'
import { BlockFetcher } from './block-fetcher.js'
import { insufficientStorage, type BlobStore } from './blob-store.js'
import type { BlobsKnobs } from './defaults.js'
import { FileDownload } from './file-download.js'
import { reusableBytes } from './local-reuse.js'
import { manifestLimits, type Manifest } from './manifest.js'
import { loadChunkList, loadManifest } from './manifest-tree.js'
import { PeerPool } from './peer-pool.js'
import { PeerCounts, type TransferPhase, type TransferPlan, type TransferProgress, type TransferReport } from './progress.js'
import { forEachLimited } from './semaphore.js'

/** Parts that fetching needs. */
export interface DownloaderComponents {
  readonly network: Network
  readonly store: BlobStore
  readonly environment: Environment
  readonly logger: Logger
  /** Told of each chunk that can be served from now on. */
  readonly announce: (file: Cid, chunk: number) => void
}

/** Options of fetching. */
export interface FetchOptions extends AbortOptions {
  /** At most four times a second, and once at the end. */
  readonly onProgress?: ((progress: TransferProgress) => void) | undefined
}

/** What one file of a plan needs. */
interface FilePlan {
  readonly file: Cid
  readonly sizeBytes: number
  readonly heldBytes: number
  readonly reusableBytes: number
  readonly isComplete: boolean
}

/** A file that is being fetched, for everyone who wants it. */
interface SharedDownload {
  readonly download: FileDownload
  readonly controller: AbortController
  readonly settled: Promise<void>
  users: number
}
