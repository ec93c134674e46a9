import type { Clock } from '../core/environment.js'
import type { NodeId } from '../core/ids.js'
import type { Entry } from '../record/entry.js'
import type { NodeDescription } from './description.js'
import { ForgottenIndex, type ForgottenItem, type ForgottenList } from './forgotten.js'
import type { Presence, PresenceState } from './presence.js'

/** A member of the mesh, as this node sees it. */
export interface Member extends NodeDescription {
  readonly nodeId: NodeId
  /** Whether it is this node, or believed to be reachable; one that is suspected counts as online until it has failed. */
  readonly online: boolean
  /** What is believed of it; this node itself is alive. */
  readonly presence: PresenceState
  /** Since when it cannot be reached: it was lost, or only ever heard of. ms since 1970 on this node's clock. */
  readonly offlineSince?: number
}

/** When a member was first seen to be gone: by the wall clock for people, by the other for durations. */
interface Gone {
  readonly at: number
  readonly monotonicAt: number
}

/** The members: descriptions less those that were forgotten, with what is believed of each. An event costs what it changes. */
export class Members {
  readonly #self: NodeId
  readonly #presence: Presence
  readonly #clock: Clock
  readonly #entries = new Map<NodeId, Entry<NodeDescription>>()
  readonly #forgotten = new ForgottenIndex()
  readonly #members = new Map<NodeId, Member>()
  readonly #gone = new Map<NodeId, Gone>()
  /** All members in order, until one changes. */
  #list: readonly Member[] | undefined
  #onlineCount = 0

  constructor(self: NodeId, presence: Presence, clock: Clock) {
    this.#self = self
    this.#presence = presence
    this.#clock = clock
  }

  /** Members that are online. */
  get onlineCount(): number {
    return this.#onlineCount
  }

  /** All members, sorted by id. */
  list(): readonly Member[] {
    this.#list ??= Object.freeze([...this.#members.values()].sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1)))
    return this.#list
  }

  /** One member. */
  get(nodeId: NodeId): Member | undefined {
    return this.#members.get(nodeId)
  }

  /** A node's description as it was written, also of a forgotten node. */
  entry(nodeId: NodeId): Entry<NodeDescription> | undefined {
    return this.#entries.get(nodeId)
  }

  /** Whether the description of a node that is known here was forgotten. */
  isForgotten(nodeId: NodeId): boolean {
    const entry = this.#entries.get(nodeId)
    return entry !== undefined && this.#forgotten.covers(entry)
  }

  /** The items of a member's list of forgotten nodes that still count: the others have been overtaken. */
  forgottenBy(nodeId: NodeId): ForgottenItem[] {
    return this.#forgotten.listOf(nodeId).filter(({ node }) => this.isForgotten(node))
  }

  /** Members that have been gone for longer than this, those gone longest first. */
  goneFor(durationMs: number): Member[] {
    const before = this.#clock.monotonic() - durationMs
    const gone = [...this.#gone].filter(([, { monotonicAt }]) => monotonicAt < before)
    gone.sort(([, a], [, b]) => a.monotonicAt - b.monotonicAt)
    return gone.flatMap(([nodeId]) => this.#members.get(nodeId) ?? [])
  }

  /** Takes new descriptions, drops those that left the document, and says which members changed. */
  learn(entries: readonly Entry<NodeDescription>[], removed: readonly Entry<NodeDescription>[]): NodeId[] {
    for (const { writer } of removed) this.#entries.delete(writer)
    for (const entry of entries) this.#entries.set(entry.writer, entry)
    return this.refresh([...removed, ...entries].map(({ writer }) => writer))
  }

  /** Takes new lists of forgotten nodes, drops those that left the document, and says which members changed. */
  learnForgotten(entries: readonly Entry<ForgottenList>[], removed: readonly Entry<ForgottenList>[]): NodeId[] {
    const gone = removed.map(({ writer }) => ({ writer, body: { forgotten: [] } }))
    return this.refresh(this.#forgotten.learn([...gone, ...entries]))
  }

  /** Looks at these nodes anew, all of them by default, and says which members changed. */
  refresh(nodes: Iterable<NodeId> = this.#entries.keys()): NodeId[] {
    const changed = [...nodes].filter((nodeId) => this.#update(nodeId))
    if (changed.length > 0) this.#list = undefined
    return changed
  }

  #update(nodeId: NodeId): boolean {
    const before = this.#members.get(nodeId)
    const entry = this.isForgotten(nodeId) ? undefined : this.#entries.get(nodeId)
    const after = entry === undefined ? undefined : this.#view(entry)
    if (after === undefined) this.#members.delete(nodeId)
    else this.#members.set(nodeId, after)
    if (after?.online !== false) this.#gone.delete(nodeId)
    this.#onlineCount += Number(after?.online === true) - Number(before?.online === true)
    return !isSame(before, after)
  }

  #view({ writer, body }: Entry<NodeDescription>): Member {
    const presence = writer === this.#self ? 'alive' : this.#presence.stateOf(writer)
    const online = presence === 'alive' || presence === 'suspected'
    if (online) return { nodeId: writer, ...body, online, presence }
    const gone = this.#gone.get(writer) ?? { at: this.#clock.now(), monotonicAt: this.#clock.monotonic() }
    this.#gone.set(writer, gone)
    return { nodeId: writer, ...body, online, presence, offlineSince: this.#presence.offlineSince(writer) ?? gone.at }
  }
}

function isSame(a: Member | undefined, b: Member | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  // A description is never changed in place: the same object is the same description.
  return a.capabilities === b.capabilities && a.presence === b.presence && a.offlineSince === b.offlineSince
}
