import type { Random } from '../core/environment.js'
import type { NodeId } from '../core/ids.js'
import type { PresencePreset } from './presence-presets.js'
import type { Roster } from './roster.js'
import { ringNeighbours } from './watch-ring.js'

/** The choice is made this long after links changed, ms: links come in swarms. */
const settleMs = 200
/** Peers from which helpers are taken. */
const helperCandidates = 9

/** What the choice of peers needs. */
export interface WatchChoiceInit {
  readonly self: NodeId
  readonly preset: PresencePreset
  readonly random: Random
  readonly roster: Roster
  readonly linked: ReadonlySet<NodeId>
}

/**
 * Whom this node watches: its neighbours on the ring of its links; those that chose it in the same way, which with partial
 * views are others; and whoever is suspected for longer than usual although there is a link to it: a second witness is missing
 * then. Also whom it tries again from time to time.
 */
export class WatchChoice {
  readonly #init: WatchChoiceInit
  /** When to look after a suspect oneself. */
  readonly #lookAt = new Map<NodeId, number>()
  /** Suspects that are looked after. */
  readonly #suspects = new Set<NodeId>()
  /** Peers that watch this node by their own choice. */
  readonly #choosers = new Set<NodeId>()
  #ring: readonly NodeId[] = []
  #chooseAt = 0
  #tryAt = 0

  constructor(init: WatchChoiceInit) {
    this.#init = init
  }

  /** When something is due; Infinity when nothing is. */
  get nextDeadline(): number {
    return Math.min(this.#chooseAt, this.#tryAt, ...this.#lookAt.values())
  }

  /** Whether this node watches a peer by its own choice. */
  isChosen(peer: NodeId): boolean {
    return this.#ring.includes(peer)
  }

  /** A peer says whether it watches this node by its own choice. */
  chosenBy(peer: NodeId, chosen: boolean, now: number): void {
    if (chosen === this.#choosers.has(peer)) return
    if (chosen) this.#choosers.add(peer)
    else this.#choosers.delete(peer)
    this.changed(now)
  }

  /** A link is gone. */
  unlinked(peer: NodeId, now: number): void {
    this.#choosers.delete(peer)
    this.changed(now)
  }

  /** Links came or went, or somebody is believed to be gone. */
  changed(now: number): void {
    this.#chooseAt = Math.min(this.#chooseAt, now + settleMs)
  }

  /** Something else is believed of a node. */
  judged(nodeId: NodeId, now: number): void {
    const { roster, linked, preset, random } = this.#init
    this.#lookAt.delete(nodeId)
    this.#suspects.delete(nodeId)
    if (roster.stateOf(nodeId) === 'suspected' && linked.has(nodeId))
      this.#lookAt.set(nodeId, now + preset.suspicionMinMs + random.float() * preset.silenceMs)
    this.changed(now)
  }

  /** Whom to watch from now on; undefined while that does not change. */
  take(now: number): NodeId[] | undefined {
    const { self, preset } = this.#init
    for (const [nodeId, at] of this.#lookAt) if (now >= at) this.#lookAfter(nodeId)
    if (now < this.#chooseAt) return undefined
    this.#chooseAt = Infinity
    const present = this.present()
    this.#ring = ringNeighbours(self, present, preset.watchLinks)
    return [...this.#ring, ...present.filter((peer) => this.#choosers.has(peer) || this.#suspects.has(peer))]
  }

  #lookAfter(nodeId: NodeId): void {
    this.#lookAt.delete(nodeId)
    this.#suspects.add(nodeId)
    this.#chooseAt = 0
  }

  /** Linked peers that are likely to hear a node too, the likeliest first: its own neighbours on the ring. */
  helpersFor(target: NodeId): NodeId[] {
    return ringNeighbours(target, this.present(), helperCandidates)
  }

  /** Whether a node is believed to have failed or left. */
  isGone(nodeId: NodeId): boolean {
    const state = this.#init.roster.stateOf(nodeId)
    return state === 'failed' || state === 'left'
  }

  /** Linked peers that are not believed to be gone. */
  present(): NodeId[] {
    return [...this.#init.linked].filter((peer) => !this.isGone(peer))
  }

  /** Whether it is time again to try a stranger. */
  isTryDue(now: number): boolean {
    if (now < this.#tryAt) return false
    this.#tryAt = now + this.#init.preset.pingMs
    return true
  }

  /** One of the linked peers that are believed to be gone, or that never said anything; undefined when there is none. */
  drawStranger(): NodeId | undefined {
    const { linked, roster, random } = this.#init
    const strangers = [...linked].filter((peer) => this.isGone(peer) || roster.stateOf(peer) === 'unknown')
    return strangers[Math.floor(random.float() * strangers.length)]
  }
}
