import type { Clock } from '../core/environment.js'
import type { FileDownload } from './file-download.js'
import {
  PeerCounts,
  type TransferPhase,
  type TransferPlan,
  type TransferProgress,
  type TransferReport
} from './progress.js'

/** Hears how far a fetch has come. */
export type OnProgress = (progress: TransferProgress) => void

const nothing: TransferPlan = Object.freeze({ totalBytes: 0, heldBytes: 0, reusableBytes: 0, missingBytes: 0 })

/** Phases of files from first to last; a fetch is in the first phase that one of its files is in. */
const phases: readonly TransferPhase[] = ['fetching', 'reusing', 'verifying', 'planning', 'complete']

/** What one fetch has done so far. */
export class Transfer {
  readonly #clock: Clock
  readonly #onProgress: OnProgress | undefined
  readonly #startedAt: number
  #plan: TransferPlan = nothing
  #downloads: readonly FileDownload[] = []
  /** Bytes of files that were complete before it began. */
  #completeBytes = 0
  #stalledBecause: string | undefined
  #hasBegun = false

  constructor(clock: Clock, onProgress: OnProgress | undefined) {
    this.#clock = clock
    this.#onProgress = onProgress
    this.#startedAt = clock.monotonic()
  }

  /** The plan is made. */
  begin(plan: TransferPlan, downloads: readonly FileDownload[], missing: readonly TransferPlan[]): void {
    this.#hasBegun = true
    this.#plan = plan
    this.#downloads = downloads
    this.#completeBytes = plan.totalBytes - missing.reduce((total, file) => total + file.totalBytes, 0)
  }

  /** Nobody has a block that the plan needs. */
  stalled(reason: string): void {
    this.#stalledBecause = reason
  }

  /** Reports where it stands. */
  tick(now: number): void {
    if (this.#onProgress === undefined) return
    const reason = this.#hasBegun ? this.#stallOfFiles(now) : this.#stalledBecause
    this.#onProgress({ ...this.#counts(), ...(reason === undefined ? {} : { stalledBecause: reason }) })
  }

  /** Reports for the last time. */
  end(): TransferReport {
    const counts = this.#counts()
    this.#onProgress?.({ ...counts, phase: 'complete' })
    const refusedPeers = new PeerCounts()
    for (const download of this.#downloads) refusedPeers.addAll(download.refusedPeers)
    const { receivedBytes, reusedBytes, fromPeers } = counts
    const seconds = (this.#clock.monotonic() - this.#startedAt) / 1000
    return { plan: this.#plan, receivedBytes, reusedBytes, fromPeers, refusedPeers, seconds }
  }

  #counts(): TransferProgress {
    const fromPeers = new PeerCounts()
    let [haveBytes, reusedBytes, receivedBytes] = [this.#completeBytes, 0, 0]
    for (const download of this.#downloads) {
      haveBytes += download.haveBytes
      reusedBytes += download.reusedBytes
      receivedBytes += download.receivedBytes
      fromPeers.addAll(download.fromPeers)
    }
    return { phase: this.#phase(), totalBytes: this.#plan.totalBytes, haveBytes, reusedBytes, receivedBytes, fromPeers }
  }

  #phase(): TransferPhase {
    if (!this.#hasBegun) return 'planning'
    return phases.find((phase) => this.#downloads.some((download) => download.phase === phase)) ?? 'complete'
  }

  #stallOfFiles(now: number): string | undefined {
    const active = this.#downloads.filter((download) => download.phase === 'fetching')
    const reasons = active.map((download) => download.stalledBecause(now))
    // As long as one file comes in, the fetch is not stalled.
    return reasons.includes(undefined) ? undefined : reasons[0]
  }
}
