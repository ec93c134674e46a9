import type { Cid, NodeId } from '../core/ids.js'
import type { BlobStore, Part } from './blob-store.js'
import { reuseLocal } from './local-reuse.js'
import type { FilePlan } from './planner.js'
import { PeerCounts, type TransferPhase } from './progress.js'
import { SwarmFetch, type SwarmFetchComponents } from './swarm-fetch.js'

/** Parts that bringing a file together needs. */
export interface FileDownloadComponents extends Omit<SwarmFetchComponents, 'onChunk' | 'onWrong'> {
  readonly store: BlobStore
  /** Told of each chunk that can be served from now on. */
  readonly announce: (file: Cid, chunk: number) => void
}

/**
 * Brings one file together: copies what other local files hold, fetches the rest from peers, and puts the whole in its place.
 */
export class FileDownload {
  readonly file: Cid
  /** Bytes by the peer that sent them. */
  readonly fromPeers = new PeerCounts()
  /** Wrong chunks by the peer that sent them. */
  readonly refusedPeers = new PeerCounts()
  readonly #components: FileDownloadComponents
  readonly #sizeBytes: number
  #swarm: SwarmFetch | undefined
  #phase: TransferPhase = 'planning'
  #initialBytes: number
  #reusedBytes = 0
  #receivedBytes = 0

  constructor(plan: FilePlan, components: FileDownloadComponents) {
    this.file = plan.file
    this.#sizeBytes = plan.totalBytes
    this.#initialBytes = plan.heldBytes
    this.#components = components
  }

  /** What it is doing. */
  get phase(): TransferPhase {
    return this.#phase
  }

  /** Bytes copied from other local files. */
  get reusedBytes(): number {
    return this.#reusedBytes
  }

  /** Bytes that came from peers. */
  get receivedBytes(): number {
    return this.#receivedBytes
  }

  /** Bytes that are here, wherever they came from. */
  get haveBytes(): number {
    return this.#initialBytes + this.#reusedBytes + this.#receivedBytes
  }

  /** Bytes that are still to be written. */
  get remainingBytes(): number {
    return Math.max(0, this.#sizeBytes - this.haveBytes)
  }

  /**
   * Runs until the file is complete. What was written stays in any case, and nothing of it is open afterwards.
   *
   * @throws MurmurateError `ABORTED`, `INSUFFICIENT_STORAGE`, `DATA_DIR_UNREADABLE`
   */
  async run(signal: AbortSignal): Promise<void> {
    const part = await this.#components.store.openPart(this.file)
    this.#initialBytes = part.chunks.bytesIn(part.held)
    try {
      await this.#reuse(part, signal)
      // A chunk that rots, or is lost by a failing disk, after it was written makes another round.
      while (!part.held.isFull) await this.#fetch(part, signal)
      this.#phase = 'verifying'
      await part.complete()
      this.#phase = 'complete'
    } finally {
      await part.close()
    }
  }

  /** Called every now and then. */
  tick(now: number): void {
    this.#swarm?.tick(now)
  }

  /** A peer has become interested in this file. */
  notice(peer: NodeId): void {
    this.#swarm?.notice(peer)
  }

  /** Why nothing comes in; undefined while something does. */
  stalledBecause(now: number): string | undefined {
    return this.#swarm?.stalledBecause(now)
  }

  async #reuse(part: Part, signal: AbortSignal): Promise<void> {
    this.#phase = 'reusing'
    const { store, knobs } = this.#components
    const onChunk = (chunk: number): void => {
      this.#reusedBytes += part.chunks.length(chunk)
      this.#components.announce(this.file, chunk)
    }
    await reuseLocal(store, part, { signal, concurrency: knobs.concurrentCopies, onChunk })
  }

  async #fetch(part: Part, signal: AbortSignal): Promise<void> {
    this.#phase = 'fetching'
    this.#swarm = new SwarmFetch(part, {
      ...this.#components,
      onChunk: (chunk, peer) => this.#received(part, chunk, peer),
      onWrong: (peer) => this.refusedPeers.add(peer, 1)
    })
    try {
      await this.#swarm.run(signal)
    } finally {
      this.#swarm = undefined
    }
  }

  #received(part: Part, chunk: number, peer: NodeId): void {
    const bytes = part.chunks.length(chunk)
    this.#receivedBytes += bytes
    this.fromPeers.add(peer, bytes)
    this.#components.announce(this.file, chunk)
  }
}
