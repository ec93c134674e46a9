import type { NodeId } from '../core/ids.js'

/** What a fetch would have to do, in bytes. */
export interface TransferPlan {
  /** All files; one that the manifest names twice counts once. */
  readonly totalBytes: number
  /** Already here. */
  readonly heldBytes: number
  /** In other local files: copied. */
  readonly reusableBytes: number
  /** To be fetched from peers. */
  readonly missingBytes: number
}

/** What a fetch is doing. */
export type TransferPhase = 'planning' | 'reusing' | 'fetching' | 'verifying' | 'complete'

/** How far a fetch has come. */
export interface TransferProgress {
  readonly phase: TransferPhase
  readonly totalBytes: number
  /** Verified and written, from wherever. */
  readonly haveBytes: number
  /** Copied from other local files by this fetch. */
  readonly reusedBytes: number
  /** From peers by this fetch; bytes that were wrong or came twice do not count. */
  readonly receivedBytes: number
  readonly fromPeers: ReadonlyMap<NodeId, number>
  /** Why nothing comes in, when nothing has for some seconds. */
  readonly stalledBecause?: string | undefined
}

/** What a fetch has done. A file that two fetches wanted at the same time counts in both. */
export interface TransferReport {
  readonly plan: TransferPlan
  readonly receivedBytes: number
  readonly reusedBytes: number
  /** Bytes by the peer that sent them. */
  readonly fromPeers: ReadonlyMap<NodeId, number>
  /** Peers that sent wrong bytes, and how often. */
  readonly refusedPeers: ReadonlyMap<NodeId, number>
  readonly seconds: number
}

/** Counts by peer. */
export class PeerCounts extends Map<NodeId, number> {
  /** Adds to a peer's count. */
  add(peer: NodeId, count: number): void {
    this.set(peer, (this.get(peer) ?? 0) + count)
  }

  /** Adds all counts of another. */
  addAll(others: ReadonlyMap<NodeId, number>): this {
    for (const [peer, count] of others) this.add(peer, count)
    return this
  }
}
