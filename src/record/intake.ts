import { equalBytes } from '../core/codec.js'
import type { Clock } from '../core/environment.js'
import { messageOf } from '../core/errors.js'
import type { NodeId, PageId } from '../core/ids.js'
import { TokenBuckets } from '../core/token-bucket.js'
import type { GossipMessage, GossipVerdict } from '../net/network.js'
import type { Conduct } from './conduct.js'
import type { DeclinedBook } from './declined.js'
import { headBytes } from './side.js'
import type { IngestResult, PageStore } from './store.js'
import { decodeUpdates, type PageUpdate } from './wire.js'
import { parseUpdate, type Chain } from './yjs-update.js'

/**
 * Entries of one writer by gossip. A node writes each of its pages at most 15 times in the first 8 s of a storm, and once in 2 s
 * in the long run (see `Gossip`). So 26 models that all change at once need 390 of 240 + 8 x 20 = 400 tokens, and 40 for ever
 * are within 20 a second. At 72 us of checking, one writer costs 1.5 ms a second.
 */
export const writerRate = Object.freeze({ capacity: 240, perSecond: 20, maxKeys: 16_384 })
/**
 * Entries of writers that a page has not met, by the peer that passes them on: so a made-up key takes no memory. When 10 000
 * nodes write the first status of a model within 10 s, each of 6 neighbours passes on 1700.
 */
const newcomerRate = { capacity: 3000, perSecond: 500, maxKeys: 1024 }
/** Bytes by the passing peer that were of no use here: declined, of an unknown kind, known. */
const uselessRate = { capacity: 4 * 1024 * 1024, perSecond: 64 * 1024, maxKeys: 1024 }
/** Entries by the passing peer that were known already, which happens when anti-entropy was faster. */
const repeatRate = { capacity: 1000, perSecond: 50, maxKeys: 1024 }
/** Entries by the passing peer that begin above what is known of their writer: each is a message lost before. */
const gapRate = { capacity: 256, perSecond: 1, maxKeys: 1024 }

/** What the intake of gossip needs. */
export interface IntakeComponents {
  readonly clock: Clock
  readonly store: PageStore
  readonly declined: DeclinedBook
  readonly conduct: Conduct
  /** Admits updates; undefined when nothing is taken at the moment. */
  readonly ingest: (updates: readonly PageUpdate[], sender: NodeId) => IngestResult | undefined
}

/** What is told apart in a gossip message before anything in it is verified. */
class Sorted {
  /** What deserves a look. */
  readonly kept: PageUpdate[] = []
  /** Who paid for it: a token for each time a writer is in here. */
  readonly writers: string[] = []
  /** Keys of chains for which the sender paid. */
  readonly newcomers: string[] = []
  unknownKind = 0
  limited = 0
  fresh = 0
  /** Present values that came again. */
  same = 0
  /** Values that were overwritten or declined before. */
  old = 0
  gaps = 0
}

/**
 * Decides what of the gossip is looked at and what travels on. What costs nothing to tell is told before any signature is
 * checked. Its memory: five tables of token buckets, 16 384 and 4 x 1024 keys at most.
 */
export class Intake {
  readonly #components: IntakeComponents
  readonly #writers = new TokenBuckets<string>(writerRate)
  readonly #newcomers = new TokenBuckets<NodeId>(newcomerRate)
  readonly #useless = new TokenBuckets<NodeId>(uselessRate)
  readonly #repeats = new TokenBuckets<NodeId>(repeatRate)
  readonly #gaps = new TokenBuckets<NodeId>(gapRate)

  constructor(components: IntakeComponents) {
    this.#components = components
  }

  /** Buckets in memory. */
  get size(): number {
    const tables = [this.#writers, this.#newcomers, this.#useless, this.#repeats, this.#gaps]
    return tables.reduce((sum, { size }) => sum + size, 0)
  }

  /** Takes a gossip message and says whether it travels on. */
  receive({ sender, data }: GossipMessage): GossipVerdict {
    const { conduct } = this.#components
    if (conduct.isHeld(sender)) return 'ignore'
    if (this.#useless.available(sender, this.#nowMs) <= 0) {
      conduct.remark(sender, 'limited')
      return 'ignore'
    }
    try {
      return this.#take(decodeUpdates(data), sender, data.byteLength)
    } catch (error) {
      conduct.fault(sender, 'malformed', messageOf(error))
      return 'reject'
    }
  }

  #take(updates: readonly PageUpdate[], sender: NodeId, sizeBytes: number): GossipVerdict {
    const sorted = new Sorted()
    for (const item of updates) if (this.#isWorthALook(item, sender, sorted)) sorted.kept.push(item)
    const result = this.#components.ingest(sorted.kept, sender)
    if (result === undefined) return 'ignore'
    this.#components.conduct.remark(sender, 'unknownKind', sorted.unknownKind)
    this.#components.conduct.remark(sender, 'limited', sorted.limited)
    this.#chargeUseless(sender, sizeBytes, result)
    this.#settle(sorted, result)
    return result.refusals.length > 0 ? 'reject' : this.#verdict(sender, sorted, result)
  }

  #verdict(sender: NodeId, sorted: Sorted, { declined }: IngestResult): GossipVerdict {
    const { unknownKind, limited, fresh, same, old, gaps } = sorted
    const repeats = this.#keepsWithin(this.#repeats, sender, same + old, 'it repeats what is known')
    const inOrder = this.#keepsWithin(this.#gaps, sender, gaps, 'it sends what nobody can connect')
    if (!repeats || !inOrder || unknownKind + limited + declined.length > 0) return 'ignore'
    // What nobody can verify stays here: else one made-up chain has every node of the mesh ask for a round.
    return fresh - gaps + same > 0 ? 'accept' : 'ignore'
  }

  #keepsWithin(buckets: TokenBuckets<NodeId>, sender: NodeId, count: number, reason: string): boolean {
    if (count === 0 || buckets.take(sender, count, this.#nowMs)) return true
    this.#components.conduct.fault(sender, 'flood', reason, count)
    return false
  }

  #isWorthALook(item: PageUpdate, sender: NodeId, sorted: Sorted): boolean {
    if (!this.#components.store.knows(item.page)) {
      sorted.unknownKind += 1
      return false
    }
    const chains = chainsOf(item.update)
    // Admission refuses it, and says why.
    if (chains === undefined) return true
    const fresh = chains.filter((chain) => this.#isFresh(item.page, chain, sorted))
    if (!fresh.every((chain) => this.#pay(item.page, chain, sender, sorted))) {
      sorted.limited += fresh.length
      return false
    }
    sorted.fresh += fresh.length
    return fresh.length > 0
  }

  #isFresh(page: PageId, { client, seq, value }: Chain, sorted: Sorted): boolean {
    const { store, declined } = this.#components
    const present = store.page(page)?.get(client)
    if (present !== undefined && seq === present.seq && equalBytes(value, present.value)) sorted.same += 1
    else if (seq < (present?.seq ?? 0) || seq <= (declined.of(page)?.get(client)?.seq ?? -1)) sorted.old += 1
    else return true
    return false
  }

  /** Takes a token for a chain: its writer's if the writer is known here, else the sender's. */
  #pay(page: PageId, { client, start, key }: Chain, sender: NodeId, sorted: Sorted): boolean {
    const known = this.#components.store.page(page)?.get(client)?.writer
    const writer = known ?? (key !== undefined && this.#writers.has(key) ? key : undefined)
    if (known === undefined && start > 0) sorted.gaps += 1
    if (writer === undefined) {
      if (key !== undefined) sorted.newcomers.push(key)
      return this.#newcomers.take(sender, 1, this.#nowMs)
    }
    if (!this.#writers.take(writer, 1, this.#nowMs)) return false
    sorted.writers.push(writer)
    return true
  }

  /**
   * Writers who turned out to be who they are pay from now on. What is forged in a writer's name, or did not come to be
   * verified because the present value stays, costs the writer nothing.
   */
  #settle(sorted: Sorted, { refusals, entries, declined }: IngestResult): void {
    const proved = new Set<string>([...entries, ...declined].map(({ writer }) => writer))
    for (const writer of sorted.writers) {
      if (refusals.length === 0 && proved.has(writer)) continue
      this.#writers.charge(writer, -1, this.#nowMs)
      sorted.fresh -= 1
      sorted.old += 1
    }
    for (const key of sorted.newcomers) if (proved.has(key)) this.#writers.charge(key, 1, this.#nowMs)
  }

  #chargeUseless(sender: NodeId, sizeBytes: number, { updates }: IngestResult): void {
    const useful = updates.reduce((sum, { page, update }) => sum + page.length + update.byteLength + headBytes, 0)
    const useless = Math.max(0, sizeBytes - useful)
    if (useless > 0) this.#useless.charge(sender, useless, this.#nowMs)
  }

  get #nowMs(): number {
    return this.#components.clock.monotonic()
  }
}

function chainsOf(update: Uint8Array): Chain[] | undefined {
  try {
    return parseUpdate(update)
  } catch {
    return undefined
  }
}
