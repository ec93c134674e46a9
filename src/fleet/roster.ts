import type { NodeId } from '../core/ids.js'
import { bucketOf } from '../record/bucket.js'
import type { PresenceState } from './presence.js'
import { isLater, type Accusation, type PresenceMessage, type Statement } from './presence-message.js'
import { presenceDefaults, type PresencePreset } from './presence-presets.js'
import { RosterDigest } from './roster-digest.js'

/** What a roster needs to know. */
export interface RosterInit {
  readonly self: NodeId
  readonly preset: PresencePreset
  /** Whether there is a link to this node at this moment. */
  readonly isLinked: (nodeId: NodeId) => boolean
  /** Whether packets are being lost: then a refutation gets more time. */
  readonly isLossy: () => boolean
  /** Nodes remembered. @default 10000 */
  readonly maxNodes?: number
}

interface Charge {
  readonly accusation: Accusation
  readonly at: number
}

interface Entry {
  readonly statement: Statement
  /** Against this statement, in the order in which they came. */
  readonly charges: Map<NodeId, Charge>
  failed: boolean
  /** When it was last told something of, for the choice of whom to forget. */
  readonly at: number
}

/**
 * What this node believes of every other one, folded from signed messages that were verified already. Pure: time is a value.
 *
 * A node is failed when nothing refuted its accusers in time: the hard evidence of two of them (or this node's own) needs
 * `hardMs`; silence needs max(min, max - (max - min) ln(c + 1) / ln(K + 1)) with c further accusers, as in Lifeguard. A single
 * accuser is not believed by a node that has a link to the accused.
 */
export class Roster {
  readonly #init: RosterInit
  readonly #maxNodes: number
  readonly #entries = new Map<NodeId, Entry>()
  /** Those that wait for a verdict. */
  readonly #suspected = new Set<NodeId>()
  readonly #digest = new RosterDigest()
  #changed = new Set<NodeId>()

  constructor(init: RosterInit) {
    this.#init = init
    this.#maxNodes = init.maxNodes ?? presenceDefaults.maxNodes
  }

  /** Nodes that are remembered. */
  get size(): number {
    return this.#entries.size
  }

  /** The digest of all that is held. */
  get digest(): Uint8Array {
    return this.#digest.whole
  }

  /** The digests of its buckets. */
  get summary(): Uint8Array {
    return this.#digest.summary
  }

  /** What is believed of a node. */
  stateOf(nodeId: NodeId): PresenceState {
    const entry = this.#entries.get(nodeId)
    if (entry === undefined) return 'unknown'
    if (entry.statement.type === 'left') return 'left'
    if (entry.failed) return 'failed'
    return entry.charges.size > 0 ? 'suspected' : 'alive'
  }

  /** The last that a node said of itself. */
  statementOf(nodeId: NodeId): Statement | undefined {
    return this.#entries.get(nodeId)?.statement
  }

  /** All that is held of a node: its statement and the accusations against it. */
  messagesOf(nodeId: NodeId): PresenceMessage[] {
    const entry = this.#entries.get(nodeId)
    if (entry === undefined) return []
    const accusations = Array.from(entry.charges.values(), ({ accusation }) => accusation)
    return accusations.length > 0 ? accusations : [entry.statement]
  }

  /** All that is held in the buckets in which another roster differs. */
  missingIn(summary: Uint8Array): PresenceMessage[] {
    const buckets = this.#digest.differing(summary)
    return [...this.#entries.keys()].filter((id) => buckets.has(bucketOf(id))).flatMap((id) => this.messagesOf(id))
  }

  /**
   * Takes what a node says of itself. Returns whether it is news; of a full roster also false.
   *
   * @param direct - whether it came over a link to the node itself, which then has a right to a place
   */
  tell(statement: Statement, now: number, direct = false): boolean {
    const { nodeId } = statement
    const before = this.#entries.get(nodeId)
    if (before !== undefined && !isLater(statement, before.statement)) return false
    if (before === undefined && !this.#makeRoom(direct)) return false
    this.#change(nodeId, () => this.#entries.set(nodeId, { statement, charges: new Map(), failed: false, at: now }))
    return true
  }

  /** Takes an accusation. Returns whether it is news that counts: not when the accused has said more since. */
  accuse(accusation: Accusation, now: number): boolean {
    const { accuser, statement } = accusation
    this.tell(statement, now)
    const entry = this.#entries.get(statement.nodeId)
    if (entry === undefined || isLater(entry.statement, statement) || entry.statement.type === 'left') return false
    if (entry.charges.has(accuser) || entry.charges.size >= presenceDefaults.maxAccusers) return false
    this.#change(statement.nodeId, () => entry.charges.set(accuser, { accusation, at: now }))
    return true
  }

  /** Whether this node may accuse: only whom it heard of, and once for each thing that it said. */
  mayAccuse(nodeId: NodeId): boolean {
    const entry = this.#entries.get(nodeId)
    return entry !== undefined && entry.statement.type === 'alive' && !entry.charges.has(this.#init.self)
  }

  /** Passes the verdicts that are due. */
  expire(now: number): void {
    for (const [nodeId, entry] of this.#suspects()) {
      if (now < this.#verdictAt(entry)) continue
      this.#change(nodeId, () => (entry.failed = true))
    }
  }

  /** When the next verdict is due; Infinity when none is. */
  get nextDeadline(): number {
    return Math.min(Infinity, ...this.#suspects().map(([, entry]) => this.#verdictAt(entry)))
  }

  /** The nodes of which something else is believed since the last call. */
  takeChanged(): NodeId[] {
    const changed = [...this.#changed]
    this.#changed = new Set()
    return changed
  }

  #suspects(): [NodeId, Entry][] {
    return [...this.#suspected].flatMap((nodeId) => {
      const entry = this.#entries.get(nodeId)
      return entry === undefined ? [] : [[nodeId, entry] as [NodeId, Entry]]
    })
  }

  #verdictAt({ statement, charges }: Entry): number {
    const { self, preset, isLinked } = this.#init
    const linked = isLinked(statement.nodeId)
    const all = [...charges.values()]
    const own = charges.get(self)
    const hard = all.filter(({ accusation }) => accusation.hard)
    const witness = own?.accusation.hard === true ? own : hard[1]
    const hardAt = linked || witness === undefined ? Infinity : witness.at + preset.hardMs
    if (all.length === 1 && own === undefined && linked) return hardAt
    return Math.min(hardAt, (all[0]?.at ?? Infinity) + this.#suspicionMs(all.length - 1))
  }

  #suspicionMs(furtherAccusers: number): number {
    const { suspicionMinMs, suspicionLossyMs, suspicionMaxMs } = this.#init.preset
    const leastMs = this.#init.isLossy() ? suspicionLossyMs : suspicionMinMs
    const share = Math.log(furtherAccusers + 1) / Math.log(presenceDefaults.confirmations + 1)
    return Math.max(leastMs, suspicionMaxMs - (suspicionMaxMs - leastMs) * share)
  }

  /** Makes a change to an entry, and keeps what follows from it. */
  #change(nodeId: NodeId, change: () => void): void {
    const before = this.stateOf(nodeId)
    this.#toggle(nodeId)
    change()
    this.#toggle(nodeId)
    const after = this.stateOf(nodeId)
    if (after === 'suspected') this.#suspected.add(nodeId)
    else this.#suspected.delete(nodeId)
    if (after !== before) this.#changed.add(nodeId)
  }

  #toggle(nodeId: NodeId): void {
    const entry = this.#entries.get(nodeId)
    if (entry === undefined) return
    const { epoch, seq } = entry.statement
    this.#digest.toggle(nodeId, `${epoch} ${seq} ${entry.charges.size > 0}`)
  }

  /** Of a full roster the one gone longest is forgotten; when nobody is gone, only who has a link gets in, for who has none. */
  #makeRoom(direct: boolean): boolean {
    if (this.#entries.size < this.#maxNodes) return true
    const others = [...this.#entries].filter(([nodeId]) => nodeId !== this.#init.self)
    const gone = others.filter(([nodeId]) => ['failed', 'left'].includes(this.stateOf(nodeId)))
    const unlinked = direct ? others.filter(([nodeId]) => !this.#init.isLinked(nodeId)) : []
    const [oldest] = (gone.length > 0 ? gone : unlinked).sort(([, one], [, two]) => one.at - two.at)
    if (oldest === undefined) return false
    this.#change(oldest[0], () => this.#entries.delete(oldest[0]))
    return true
  }
}
