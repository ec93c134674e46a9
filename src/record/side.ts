import type { Clock, Random } from '../core/environment.js'
import type { Channel } from '../net/network.js'
import { ExpectedUpdates } from './expected-updates.js'
import type { Knowledge } from './knowledge.js'
import { malformed, Round, type MessageOf } from './round.js'
import type { IngestResult, PageStore } from './store.js'
import { packed, type PageUpdate } from './wire.js'

/** What a round needs. */
export interface SyncComponents {
  readonly clock: Clock
  readonly random: Random
  readonly store: PageStore
  readonly knowledge: Knowledge
  /** Takes what the peer sent, and only then more; undefined when nothing is taken at the moment. */
  readonly ingest: (updates: readonly PageUpdate[]) => Promise<IngestResult | undefined>
  /** A peer that says nothing or takes nothing for this long is given up, ms. */
  readonly silenceMs: number
}

/** What a round came to. */
export interface RoundResult {
  /** It left something over: the next one should follow. */
  readonly more: boolean
  /** Entries that were sent, and new ones that came. */
  readonly moved: number
}

/** Slices of which one round speaks: 1 MiB of digests. */
export const maxSlicesARound = 2 ** 18
/** Headers of an item of a list: of its array, its page id and what follows. */
export const headBytes = 16

/** What both sides do. */
export abstract class Side {
  protected readonly components: SyncComponents
  protected readonly round: Round
  protected readonly expected = new ExpectedUpdates()
  protected moved = 0

  constructor(components: SyncComponents, channel: Channel, signal: AbortSignal) {
    const { clock, silenceMs } = components
    this.components = components
    this.round = new Round({ channel, clock, silenceMs, signal })
  }

  protected async take({ items }: MessageOf<'updates'>): Promise<void> {
    this.expected.take(items)
    const result = await this.components.ingest(items)
    if (result?.gap === true) throw malformed('an entry that begins above what was known')
    this.moved += result?.entries.length ?? 0
  }

  /** Sends updates, of several small pages together. */
  protected async sendUpdates(updates: Iterable<PageUpdate>): Promise<void> {
    for (const items of packed(updates, ({ page, update }) => page.length + update.byteLength + headBytes)) {
      this.moved += items.length
      await this.round.send({ type: 'updates', items })
    }
  }
}
