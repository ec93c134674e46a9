import type { NodeId } from '../core/ids.js'

/** How long a peer may be silent, ms. */
export interface Patience {
  /** Until helpers are asked, from the first ping without answer. */
  readonly answerMs: number
  /** Until it is accused, from the last sign of life; two thirds of it from the first ping without answer. */
  readonly silenceMs: number
}

/** A question to helpers that is under way. */
export interface Enquiry {
  readonly id: number
  readonly startedAt: number
  readonly endsAt: number
  /** How many helpers were asked. */
  readonly asked: number
  /** Helpers that have not answered. */
  readonly pending: Set<NodeId>
}

/** How many unanswered pings are remembered for the measurement of round trips. */
const maxOutstanding = 8

/** What a node knows of one peer that it watches. */
export class PeerWatch {
  readonly peer: NodeId
  /** When it was last heard here. */
  heardAt: number | undefined
  /** When it was last known to be alive: heard here, or by a helper. */
  aliveAt: number
  /** When to ping it next or, once the link is lost, to look into that. */
  actAt: number
  /** The first ping since it was last known to be alive; while this is set, it owes an answer. */
  unansweredSince: number | undefined
  enquiry: Enquiry | undefined
  /** When an enquiry last ended without a helper that hears it. */
  silentAt: number | undefined
  /** Its link closed without a goodbye: there is nothing to send pings over. */
  isLost = false
  /** It says that it has not heard this node for so long, ms. */
  deafMs = 0
  /** How often helpers have heard it since its link was lost. */
  vouches = 0
  /** Enquiries since it was last heard here. */
  enquiries = 0
  readonly #sentAt = new Map<number, number>()

  constructor(peer: NodeId, aliveAt: number, actAt: number) {
    this.peer = peer
    this.aliveAt = aliveAt
    this.actAt = actAt
  }

  /** A ping goes out. */
  sent(nonce: number, now: number): void {
    if (this.#sentAt.size >= maxOutstanding) this.#sentAt.clear()
    this.#sentAt.set(nonce, now)
    this.unansweredSince ??= now
  }

  /** A ping was answered; returns the round trip, ms, when it is known. */
  answered(nonce: number, now: number): number | undefined {
    const sentAt = this.#sentAt.get(nonce)
    if (sentAt === undefined) return undefined
    this.#sentAt.clear()
    this.deafMs = 0
    return Math.max(0, now - sentAt)
  }

  /** It is alive: nothing is owed, and the next ping is due then. */
  proveAlive(now: number, actAt: number): void {
    this.aliveAt = now
    this.startOver(actAt)
  }

  /** What was found out is used up. */
  startOver(actAt: number): void {
    this.unansweredSince = undefined
    this.enquiry = undefined
    this.silentAt = undefined
    this.actAt = actAt
  }

  /** When to ask helpers; Infinity while that is under way or its result is fresh. A lost link is no time to wait. */
  askAt({ answerMs }: Patience): number {
    if (this.unansweredSince === undefined || this.enquiry !== undefined) return Infinity
    if (this.silentAt !== undefined) return this.silentAt + 2 * answerMs
    return this.unansweredSince + (this.isLost ? 0 : answerMs)
  }

  /** When to accuse it; Infinity unless helpers were asked in vain. */
  accuseAt({ silenceMs }: Patience): number {
    if (this.unansweredSince === undefined || this.silentAt === undefined) return Infinity
    return Math.max(this.aliveAt + silenceMs, this.unansweredSince + (silenceMs * 2) / 3)
  }

  /** When something is due. */
  deadline(patience: Patience): number {
    return Math.min(this.actAt, this.enquiry?.endsAt ?? Infinity, this.askAt(patience), this.accuseAt(patience))
  }
}
