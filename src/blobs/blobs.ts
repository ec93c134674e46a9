import type { AbortOptions } from '../core/abort.js'
import type { Environment } from '../core/environment.js'
import { MurmurateError, messageOf } from '../core/errors.js'
import type { Cid } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import { componentLogger, type Logger } from '../core/logger.js'
import type { Network } from '../net/network.js'
import type { BlobStore } from './blob-store.js'
import { blobsDefaults, type BlobsInit, type BlobsKnobs } from './defaults.js'
import { Downloader, type FetchOptions } from './downloader.js'
import { ExchangeServer } from './exchange-server.js'
import { ingestFiles, type IngestFile, type IngestOptions } from './ingest.js'
import { blocksOf, loadManifest } from './manifest-tree.js'
import type { TransferPlan, TransferReport } from './progress.js'
import type { TransferListener } from './transfer-meter.js'

export type { IngestFile, IngestOptions } from './ingest.js'
export type { FetchOptions } from './downloader.js'
export type { TransferPlan, TransferProgress, TransferReport } from './progress.js'

/** A complete local file. */
export interface LocalFile {
  /** Display name; never a path. */
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** Where it can be read. Read-only. (With a store in memory: not a path.) */
  readonly path: string
}

/** All files of a manifest, complete and local. */
export interface Artifact {
  readonly manifest: Cid
  /** Bytes of all files. */
  readonly size: number
  readonly files: readonly LocalFile[]
}

/** What was published. */
export interface IngestResult {
  readonly manifest: Cid
  /** Bytes of all files. */
  readonly size: number
  readonly files: readonly { readonly name: string; readonly size: number }[]
}

/** Parts that moving bytes needs. */
export interface BlobsComponents {
  readonly network: Network
  /** Started and stopped together with `Blobs`. */
  readonly store: BlobStore
  readonly environment: Environment
  readonly logger: Logger
  /** Hears how fast bytes come from peers, at most once a request. */
  readonly onTransfer?: TransferListener
}

interface Running {
  readonly server: ExchangeServer
  readonly downloader: Downloader
  /** Fires when it stops. */
  readonly stopping: AbortController
}

/**
 * Moves files between nodes: publishes them as manifests, fetches manifests from whichever peers have parts of them, serves
 * what is here, and keeps it all in a store.
 *
 * @example
 * const { manifest } = await blobs.ingest([{ name: 'model.safetensors', path: '/models/v2.safetensors' }])
 * const { artifact, report } = await otherBlobs.fetch(manifest, { signal: AbortSignal.timeout(600_000) })
 */
export class Blobs implements Startable {
  readonly #components: BlobsComponents
  readonly #knobs: BlobsKnobs
  /** Publishing and removing one after the other: both decide by what the store holds. */
  #changes: Promise<unknown> = Promise.resolve()
  #running: Running | undefined

  constructor(components: BlobsComponents, init: BlobsInit = {}) {
    this.#components = { ...components, logger: componentLogger(components.logger, 'blobs') }
    this.#knobs = { ...blobsDefaults, ...init }
  }

  /** Opens the store and begins to serve. */
  async start(): Promise<void> {
    if (this.#running !== undefined) return
    await this.#components.store.start()
    const server = new ExchangeServer(this.#components, {
      ...this.#knobs,
      onInterest: (peer, file) => this.#running?.downloader.notice(peer, file)
    })
    const downloader = new Downloader({
      ...this.#components,
      knobs: this.#knobs,
      announce: (file, chunk) => server.announce(file, chunk)
    })
    this.#running = { server, downloader, stopping: new AbortController() }
    try {
      server.start()
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  /** Stops fetching and publishing (both reject with `ABORTED`; fetched parts stay) and serving, and closes the store. */
  async stop(): Promise<void> {
    const running = this.#running
    this.#running = undefined
    running?.stopping.abort(new MurmurateError('ABORTED', 'The node is stopping'))
    await running?.downloader.stop()
    await running?.server.stop()
    await this.#changes
    await this.#components.store.stop()
  }

  /**
   * Publishes files: cuts, hashes and copies them into the store. The originals are only read.
   *
   * @throws MurmurateError `INVALID_REQUEST` for names and paths; `FILE_CHANGED` when a file vanishes or changes meanwhile,
   * `INSUFFICIENT_STORAGE`, `ABORTED`: then nothing is kept. `NOT_STARTED`
   */
  ingest(files: readonly IngestFile[], options: IngestOptions = {}): Promise<IngestResult> {
    return this.#change(async (store, stopping) => {
      const before = new Set(store.files())
      const signal = options.signal === undefined ? stopping : AbortSignal.any([options.signal, stopping])
      try {
        const { block, files: entries } = await ingestFiles(store, files, { ...options, signal })
        await store.keep(block.cid)
        const size = entries.reduce((total, entry) => total + entry.size, 0)
        return { manifest: block.cid, size, files: entries.map((entry) => ({ name: entry.name, size: entry.size })) }
      } catch (error) {
        await this.#removeUnused(store.files().filter((file) => !before.has(file)))
        throw error
      }
    })
  }

  /**
   * What fetching would mean. Asks every connected peer once for the blocks that describe the files.
   *
   * @throws MurmurateError `BLOB_NOT_FOUND` when no peer has them, `MALFORMED`, `ABORTED`, `NOT_STARTED`
   */
  async plan(manifest: Cid, options: AbortOptions = {}): Promise<TransferPlan> {
    return this.#started().downloader.plan(manifest, options)
  }

  /**
   * Fetches all files of a manifest from whichever peers have parts of them, and keeps trying until it has them or the signal
   * fires. What was fetched before, by an earlier call or as part of another version, is not fetched again.
   *
   * @throws MurmurateError `INSUFFICIENT_STORAGE` (details `requiredBytes`, `availableBytes`), `DATA_DIR_UNREADABLE`,
   * `MALFORMED`, `ABORTED`, `NOT_STARTED`. Parts stay in any case.
   */
  async fetch(manifest: Cid, options: FetchOptions = {}): Promise<{ artifact: Artifact; report: TransferReport }> {
    const report = await this.#started().downloader.fetch(manifest, options)
    const artifact = await this.local(manifest)
    if (artifact !== undefined) return { artifact, report }
    throw new MurmurateError('BLOB_CORRUPT', `Files of ${manifest} were damaged right after they were fetched`)
  }

  /** The files of a manifest, when all are here and whole. */
  async local(manifest: Cid): Promise<Artifact | undefined> {
    const { store } = this.#components
    const root = await loadManifest((cid) => store.getBlock(cid), manifest)
    if (root === undefined) return undefined
    const files: LocalFile[] = []
    for (const { name, size, file } of root.files) {
      const path = store.path(file)
      if (path === undefined) return undefined
      files.push({ name, size, path })
    }
    return { manifest, size: root.size, files }
  }

  /** Bytes that can still be written here: the least of the disk's free space and what is left of the declared capacity. */
  async availableBytes(): Promise<number> {
    return (await this.#components.store.space()).availableBytes
  }

  /** Bytes of a manifest's files that are here already, whole or in part. Asks no peer: 0 when the manifest is not here. */
  async heldBytes(manifest: Cid): Promise<number> {
    const { store } = this.#components
    const root = await loadManifest((cid) => store.getBlock(cid), manifest)
    const states = await Promise.all((root?.files ?? []).map(({ file }) => store.state(file)))
    return states.reduce((total, state) => total + (state?.chunks.bytesIn(state.held) ?? 0), 0)
  }

  /** Removes a manifest, and those of its files and blocks that no other kept manifest uses, parts too. Stops fetches of it. */
  remove(manifest: Cid): Promise<void> {
    return this.#change(async (store) => {
      await this.#running?.downloader.cancel(manifest)
      const getBlock = (cid: Cid): Promise<Uint8Array | undefined> => store.getBlock(cid)
      const root = await loadManifest(getBlock, manifest)
      const blocks = await blocksOf(getBlock, manifest)
      await store.forget(manifest)
      const used = await this.#removeUnused(root?.files.map(({ file }) => file) ?? [])
      for (const block of blocks) if (!used.has(block)) await store.removeBlock(block)
    })
  }

  /** Removes those of these files that no kept manifest uses, except those being fetched; returns all blocks in use. */
  async #removeUnused(files: readonly Cid[]): Promise<ReadonlySet<Cid>> {
    const { store, logger } = this.#components
    const used = new Set<Cid>()
    for (const kept of store.kept()) {
      for (const block of await blocksOf((cid) => store.getBlock(cid), kept)) used.add(block)
    }
    for (const file of files) {
      if (used.has(file) || this.#running?.downloader.isFetching(file) === true) continue
      await store.removeFile(file).catch((error: unknown) => logger.warn(`file ${file} stays: ${messageOf(error)}`))
    }
    return used
  }

  #started(): Running {
    if (this.#running !== undefined) return this.#running
    throw new MurmurateError('NOT_STARTED', 'Blobs were not started')
  }

  #change<T>(task: (store: BlobStore, stopping: AbortSignal) => Promise<T>): Promise<T> {
    const result = this.#changes.then(() => task(this.#components.store, this.#started().stopping.signal))
    this.#changes = result.catch(() => {})
    return result
  }
}
