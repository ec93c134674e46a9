import { equalBytes } from '../core/codec.js'
import type { NodeId } from '../core/ids.js'
import type { Roster } from './roster.js'

/** Longest pause between two rounds that bring nothing, ms. */
const maxPauseMs = 60_000
/** A summary of one peer is answered at most this often, ms: the answer may be 2000 times as large. */
const answerPauseMs = 1_000

/**
 * When to compare rosters: gossip loses messages, and who joins late has heard none. Each ping and pong carries a digest; when
 * a neighbour's differs twice in a row, the summaries of all buckets are exchanged, and what either lacks.
 */
export class RosterSync {
  readonly #roster: Roster
  readonly #periodMs: number
  readonly #differs = new Set<NodeId>()
  readonly #answeredAt = new Map<NodeId, number>()
  #pauseMs: number
  #askAgainAt = -Infinity

  /** @param periodMs - in which each neighbour sends its digest */
  constructor(roster: Roster, periodMs: number) {
    this.#roster = roster
    this.#periodMs = periodMs
    this.#pauseMs = periodMs
  }

  /** A neighbour's digest came. Returns whether to send it a summary. */
  compare(peer: NodeId, digest: Uint8Array, now: number): boolean {
    if (equalBytes(digest, this.#roster.digest)) {
      this.#differs.delete(peer)
      this.#pauseMs = this.#periodMs
      return false
    }
    // News that is under way makes a difference too; but who knows only itself and a neighbour has just come.
    const isLasting = this.#differs.has(peer) || this.#roster.size <= 2
    this.#differs.add(peer)
    return isLasting && this.begin(now)
  }

  /** Whether it is time to send a summary. */
  begin(now: number): boolean {
    if (now < this.#askAgainAt) return false
    this.#askAgainAt = now + this.#pauseMs
    this.#pauseMs = Math.min(2 * this.#pauseMs, maxPauseMs)
    return true
  }

  /** A neighbour sent a summary. Returns whether to answer it. */
  mayAnswer(peer: NodeId, now: number): boolean {
    if (now - (this.#answeredAt.get(peer) ?? -Infinity) < answerPauseMs) return false
    this.#answeredAt.set(peer, now)
    return true
  }

  /** Comparing was worth it: there may be more. */
  broughtNews(): void {
    this.#pauseMs = this.#periodMs
  }

  /** A link is gone. */
  forget(peer: NodeId): void {
    this.#differs.delete(peer)
    this.#answeredAt.delete(peer)
  }
}
