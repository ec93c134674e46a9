import type { NodeId } from '../core/ids.js'

/** What was measured of the way to a peer. */
export interface LinkQuality {
  readonly peer: NodeId
  /** Smoothed round trip, ms; undefined before the first ping was answered. */
  readonly roundTripMs: number | undefined
  /** Smoothed rate of transfers; undefined before the first. */
  readonly bytesPerSecond: number | undefined
}

/** Weight of the newest value in a moving average: it follows a change within about ten values. */
const weight = 0.2
/** Weight of the newest answer in the share of late ones: about the last twenty. */
const lateWeight = 0.05
/** An answer this much later than usual, ms, was held up by a lost packet: TCP repeats after 200. */
const lateMs = 150
/** Share of late answers from which packets count as being lost: one of twenty. */
const lossyShare = 0.05
/** Transfers shorter than this say nothing of a rate, ms. */
const leastTransferMs = 1

/** What this node measures of its links: pure bookkeeping, for at most `capacity` peers, the longest unmeasured go. */
export class Topology {
  readonly #links = new Map<NodeId, LinkQuality>()
  readonly #capacity: number
  #lateShare = 0

  /** @param capacity - peers remembered; as many as a node has links at most */
  constructor(capacity = 512) {
    this.#capacity = capacity
  }

  /** All that was measured, the latest last. */
  links(): LinkQuality[] {
    return [...this.#links.values()]
  }

  /** Smoothed round trip to a peer, ms. */
  roundTripMs(peer: NodeId): number | undefined {
    return this.#links.get(peer)?.roundTripMs
  }

  /** Whether packets are being lost. */
  get lossy(): boolean {
    return this.#lateShare > lossyShare
  }

  /** A ping was answered after this time. */
  observeRoundTrip(peer: NodeId, ms: number): void {
    const before = this.roundTripMs(peer)
    const late = before !== undefined && ms > before + lateMs && ms > 2 * before
    this.#lateShare += lateWeight * ((late ? 1 : 0) - this.#lateShare)
    this.#update(peer, { roundTripMs: smoothed(before, ms) })
  }

  /** A transfer from or to a peer moved this many bytes in this time. */
  observe(peer: NodeId, bytes: number, ms: number): void {
    if (!(ms >= leastTransferMs) || !(bytes >= 0)) return
    const bytesPerSecond = smoothed(this.#links.get(peer)?.bytesPerSecond, (bytes * 1000) / ms)
    this.#update(peer, { bytesPerSecond })
  }

  #update(peer: NodeId, change: Partial<LinkQuality>): void {
    const before = this.#links.get(peer) ?? { peer, roundTripMs: undefined, bytesPerSecond: undefined }
    this.#links.delete(peer)
    const oldest = this.#links.size >= this.#capacity ? this.#links.keys().next().value : undefined
    if (oldest !== undefined) this.#links.delete(oldest)
    this.#links.set(peer, { ...before, ...change })
  }
}

function smoothed(before: number | undefined, newest: number): number {
  return before === undefined ? newest : before + weight * (newest - before)
}
