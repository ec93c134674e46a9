import type { Clock } from '../core/environment.js'
import type { NodeId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import type { Startable } from '../core/lifecycle.js'
import type { Network, Unsubscribe } from '../net/network.js'

/** A kind of fault: `refused`, what no writer signed so; `malformed`, what is no message; `flood`, what is known, again and again. */
export type Fault = 'refused' | 'malformed' | 'flood'

/** What a peer can be at fault for, and how much each time counts. An honest peer of any version does none of it. */
const faultWeights: Readonly<Record<Fault, number>> = Object.freeze({
  /** Passed on what no writer signed so, or what does not belong where it stands: honest nodes keep that to themselves. */
  refused: 1,
  /** Sent bytes that are no message, or broke the order or the bounds of a round. */
  malformed: 3,
  /** Sent again and again what is known, or what nobody can understand, faster than it happens by chance. */
  flood: 0.1
})

/** What a peer did that is no fault: another version or fleet root explains it, or a moment with much to say. */
export type Remark = 'declined' | 'unknownKind' | 'limited'

/** What is in the book about one peer. */
export interface PeerConduct {
  readonly peer: NodeId
  /** Weighted faults, fading by half every 10 minutes. */
  readonly score: number
  /** How often each thing happened. */
  readonly counts: Readonly<Record<Fault | Remark, number>>
  /** How often this node hung up on it. */
  readonly hangUps: number
  /** The last fault, in words. */
  readonly lastFault: string | undefined
}

interface Page {
  readonly counts: Record<Fault | Remark, number>
  score: number
  scoredAtMs: number
  hangUps: number
  heldUntilMs: number
  lastFault: string | undefined
}

/** What the book needs. */
export interface ConductComponents {
  readonly network: Pick<Network, 'hangUp' | 'onPeer'>
  readonly clock: Clock
  readonly logger: Logger
}

/** From this score on a peer is hung up on: four broken rounds, or ten forged entries, within minutes. */
const hangUpScore = 10
/** As that of gossipsub's blame. */
const halfLifeMs = 10 * 60_000
/** The first hold, which the network keeps by itself; each further one is twice as long. */
const firstHoldMs = 60_000
const longestHoldMs = 3_600_000
/** Peers in the book: at 300 bytes each, about 300 KiB. */
const maxPeers = 1024

/** The book of what each peer did wrong here, by gossip and in rounds alike; who does too much of it is cut off for a while. */
export class Conduct implements Startable {
  readonly #components: ConductComponents
  /** Written to longest ago first. */
  readonly #book = new Map<NodeId, Page>()
  #unsubscribe: Unsubscribe | undefined

  constructor(components: ConductComponents) {
    this.#components = components
  }

  start(): void {
    // The network lets a peer back after a minute; a longer hold is kept by hanging up once more.
    this.#unsubscribe = this.#components.network.onPeer(({ type, peer }) => {
      if (type === 'connected' && this.isHeld(peer)) this.#cut(peer)
    })
  }

  stop(): void {
    this.#unsubscribe?.()
    this.#unsubscribe = undefined
  }

  /** Whether nothing that this peer sends counts at the moment. */
  isHeld(peer: NodeId): boolean {
    const page = this.#book.get(peer)
    return page !== undefined && page.heldUntilMs > this.#components.clock.monotonic()
  }

  /** Notes faults of a peer, and hangs up when they are too many. */
  fault(peer: NodeId, fault: Fault, reason: string, count = 1): void {
    const page = this.#page(peer)
    page.counts[fault] += count
    page.lastFault = reason.slice(0, 200)
    page.score = this.#scoreOf(page) + count * faultWeights[fault]
    page.scoredAtMs = this.#components.clock.monotonic()
    if (page.score >= hangUpScore && !this.isHeld(peer)) this.#hold(peer, page)
  }

  /** Notes what is no fault. */
  remark(peer: NodeId, remark: Remark, count = 1): void {
    if (count > 0) this.#page(peer).counts[remark] += count
  }

  /** What is known of each peer that was noted for anything. */
  report(): PeerConduct[] {
    return Array.from(this.#book, ([peer, page]) => {
      const { counts, hangUps, lastFault } = page
      return { peer, score: this.#scoreOf(page), counts: { ...counts }, hangUps, lastFault }
    })
  }

  #hold(peer: NodeId, page: Page): void {
    const holdMs = Math.min(longestHoldMs, firstHoldMs * 2 ** page.hangUps)
    page.hangUps += 1
    page.score = 0
    page.heldUntilMs = this.#components.clock.monotonic() + holdMs
    this.#components.logger.warn(`hung up on ${peer} for ${holdMs / 1000} s, after: ${page.lastFault}`, {
      peer,
      ...page.counts
    })
    this.#cut(peer)
  }

  #cut(peer: NodeId): void {
    void this.#components.network.hangUp(peer)
  }

  #scoreOf(page: Page): number {
    return page.score * 2 ** ((page.scoredAtMs - this.#components.clock.monotonic()) / halfLifeMs)
  }

  #page(peer: NodeId): Page {
    const page = this.#book.get(peer) ?? emptyPage()
    this.#book.delete(peer)
    if (this.#book.size >= maxPeers) this.#forgetOne()
    this.#book.set(peer, page)
    return page
  }

  /** The peer that was noted longest ago; those who are held stay as long as there are others. */
  #forgetOne(): void {
    const peers = [...this.#book.keys()]
    const oldest = peers.find((peer) => !this.isHeld(peer)) ?? peers[0]
    if (oldest !== undefined) this.#book.delete(oldest)
  }
}

function emptyPage(): Page {
  const counts = { refused: 0, malformed: 0, flood: 0, declined: 0, unknownKind: 0, limited: 0 }
  return { counts, score: 0, scoredAtMs: 0, hangUps: 0, heldUntilMs: 0, lastFault: undefined }
}
