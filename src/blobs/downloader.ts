import { insufficientStorage } from '../core/durable.js'
import { raceSignal, throwIfAborted, type AbortOptions } from '../core/abort.js'
import { every, type Environment, type Timer } from '../core/environment.js'
import { MurmurateError, messageOf } from '../core/errors.js'
import type { Cid, NodeId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import type { Network, Unsubscribe } from '../net/network.js'
import { BlockFetcher } from './block-fetcher.js'
import { type BlobStore } from './blob-store.js'
import type { BlobsKnobs } from './defaults.js'
import { FileDownload } from './file-download.js'
import { PeerPool } from './peer-pool.js'
import { planFiles, totalOf, type FilePlan } from './planner.js'
import type { TransferPlan, TransferReport } from './progress.js'
import { forEachLimited } from './semaphore.js'
import { SharedDownloads } from './shared-downloads.js'
import { Transfer, type OnProgress } from './transfer.js'

/** Parts that fetching needs. */
export interface DownloaderComponents {
  readonly network: Network
  readonly store: BlobStore
  readonly environment: Environment
  readonly logger: Logger
  readonly knobs: BlobsKnobs
  /** Told of each chunk that can be served from now on. */
  readonly announce: (file: Cid, chunk: number) => void
}

/** Options of fetching. */
export interface FetchOptions extends AbortOptions {
  /** At most four times a second, and once at the end. */
  readonly onProgress?: OnProgress | undefined
}

interface RunningTransfer {
  readonly manifest: Cid
  readonly controller: AbortController
  readonly running: Promise<unknown>
}

/** Fetches manifests: plans, reserves room, and has each file brought together. Used once: after `stop` make another. */
export class Downloader {
  readonly #components: DownloaderComponents
  readonly #pool: PeerPool
  readonly #blocks: BlockFetcher
  readonly #downloads = new SharedDownloads()
  readonly #transfers = new Map<Transfer, RunningTransfer>()
  readonly #stopping = new AbortController()
  readonly #backlog = { bytes: 0 }
  readonly #unsubscribe: Unsubscribe
  #ticker: Timer | undefined

  constructor(components: DownloaderComponents) {
    const { knobs, network } = components
    this.#components = components
    this.#pool = new PeerPool(components, knobs)
    this.#blocks = new BlockFetcher({ ...components, pool: this.#pool }, knobs)
    this.#unsubscribe = network.onPeer(() => this.#tickDownloads())
  }

  /** Stops all fetches and hangs up; parts stay, nothing is open. */
  async stop(): Promise<void> {
    this.#unsubscribe()
    this.#stopping.abort(new MurmurateError('ABORTED', 'The node is stopping'))
    await Promise.allSettled([...this.#transfers.values()].map(({ running }) => running))
    await this.#pool.stop()
  }

  /**
   * What fetching would mean. Asks every connected peer once for the blocks that are not here.
   *
   * @throws MurmurateError `BLOB_NOT_FOUND`, `MALFORMED`, `ABORTED`
   */
  async plan(manifest: Cid, options: AbortOptions): Promise<TransferPlan> {
    const signal = this.#signalOf(options)
    return totalOf(
      await planFiles({ store: this.#components.store, blocks: this.#blocks }, manifest, { signal, isPatient: false })
    )
  }

  /**
   * Fetches all files of a manifest; keeps trying until it has them or the signal fires.
   *
   * @throws MurmurateError `ABORTED`, `INSUFFICIENT_STORAGE`, `DATA_DIR_UNREADABLE`, `MALFORMED`
   */
  fetch(manifest: Cid, options: FetchOptions): Promise<TransferReport> {
    const transfer = new Transfer(this.#components.environment.clock, this.#guarded(options.onProgress))
    const controller = new AbortController()
    const signal = AbortSignal.any([this.#signalOf(options), controller.signal])
    const running = this.#run(manifest, transfer, signal).finally(() => {
      this.#transfers.delete(transfer)
      if (this.#transfers.size > 0) return
      this.#ticker?.cancel()
      this.#ticker = undefined
    })
    this.#transfers.set(transfer, { manifest, controller, running })
    this.#ticker ??= every(this.#components.environment, this.#components.knobs.tickMs, () => this.#tick())
    return running
  }

  /** Stops all fetches of a manifest; they reject with `ABORTED`. */
  async cancel(manifest: Cid): Promise<void> {
    const concerned = [...this.#transfers.values()].filter((transfer) => transfer.manifest === manifest)
    const reason = new MurmurateError('ABORTED', `${manifest} is being removed`)
    for (const { controller } of concerned) controller.abort(reason)
    await Promise.allSettled(concerned.map(({ running }) => running))
  }

  /** A peer has become interested in a file. */
  notice(peer: NodeId, file: Cid): void {
    this.#downloads.get(file)?.notice(peer)
  }

  /** Whether a file is being fetched. */
  isFetching(file: Cid): boolean {
    return this.#downloads.get(file) !== undefined
  }

  /** What a listener throws is its own fault: it must not end the fetch, and less the process. */
  #guarded(onProgress: OnProgress | undefined): OnProgress | undefined {
    if (onProgress === undefined) return undefined
    return (progress) => {
      try {
        onProgress(progress)
      } catch (error) {
        this.#components.logger.error(`a listener of a fetch failed: ${messageOf(error)}`)
      }
    }
  }

  #signalOf({ signal }: AbortOptions): AbortSignal {
    return signal === undefined ? this.#stopping.signal : AbortSignal.any([signal, this.#stopping.signal])
  }

  async #run(manifest: Cid, transfer: Transfer, signal: AbortSignal): Promise<TransferReport> {
    const { store } = this.#components
    const onStall = (reason: string): void => transfer.stalled(reason)
    const plans = await planFiles({ store, blocks: this.#blocks }, manifest, { signal, isPatient: true, onStall })
    await store.keep(manifest)
    throwIfAborted(signal)
    const missing = plans.filter((plan) => !plan.isComplete)
    const downloads = await this.#acquire(missing)
    transfer.begin(totalOf(plans), downloads, missing)
    try {
      await forEachLimited(missing, this.#components.knobs.concurrentFiles, ({ file }) => this.#bring(file, signal))
    } finally {
      await Promise.all(missing.map(({ file }) => this.#downloads.release(file)))
    }
    return transfer.end()
  }

  async #bring(file: Cid, signal: AbortSignal): Promise<void> {
    throwIfAborted(signal)
    await raceSignal(this.#downloads.run(file), signal)
  }

  /** Makes sure that there is room for everything before anything is written. */
  async #acquire(missing: readonly FilePlan[]): Promise<readonly FileDownload[]> {
    const availableBytes = await this.#space(missing.map(({ file }) => file))
    // From here to the end nothing waits, so that two fetches cannot both count on the same room.
    this.#checkSpace(missing, availableBytes)
    return missing.map((plan) =>
      this.#downloads.acquire(
        plan.file,
        () =>
          new FileDownload(plan, {
            ...this.#components,
            self: this.#components.network.nodeId,
            clock: this.#components.environment.clock,
            pool: this.#pool,
            backlog: this.#backlog
          })
      )
    )
  }

  /** Bytes that can be written, at a moment when none of these files is just being given up. */
  async #space(files: readonly Cid[]): Promise<number> {
    for (;;) {
      await this.#downloads.stopping(files)
      const { availableBytes } = await this.#components.store.space()
      if (!this.#downloads.isStopping(files)) return availableBytes
    }
  }

  #checkSpace(missing: readonly FilePlan[], availableBytes: number): void {
    const { marginBytes, marginRatio } = this.#components.knobs
    let promised = 0
    for (const download of this.#downloads.all()) promised += download.remainingBytes
    const added = missing.filter(({ file }) => this.#downloads.get(file) === undefined)
    const toWrite = added.reduce((total, plan) => total + plan.totalBytes - plan.heldBytes, 0)
    const required = toWrite + Math.ceil(Math.min(marginBytes, toWrite * marginRatio))
    const available = Math.max(0, availableBytes - promised)
    if (required > available) throw insufficientStorage(required, available)
  }

  #tick(): void {
    this.#tickDownloads()
    const now = this.#components.environment.clock.monotonic()
    for (const transfer of this.#transfers.keys()) transfer.tick(now)
  }

  #tickDownloads(): void {
    const now = this.#components.environment.clock.monotonic()
    this.#pool.check(now)
    for (const download of this.#downloads.all()) download.tick(now)
  }
}
