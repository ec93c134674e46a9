import type { Clock, Random } from '../core/environment.js'
import type { Channel } from '../net/network.js'
import { ExpectedUpdates } from './expected-updates.js'
import type { Knowledge } from './knowledge.js'
import { malformed, Round, type MessageOf } from './round.js'
import { saltBytes } from './sync-messages.js'
import type { IngestResult, PageStore } from './store.js'
import { packed, type PageUpdate } from './wire.js'

/** What a round needs. */
export interface SyncComponents {
  readonly clock: Clock
  readonly random: Random
  readonly store: PageStore
  readonly knowledge: Knowledge
  /** Whether a round that is begun here is about what both sides hold, and only asks; see `aboutHeld`. @default false */
  readonly isAboutHeld?: boolean
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

/**
 * The first byte of a salt that says: this round compares what both sides hold, and its initiator only asks. In other rounds a
 * declined entry hides what is held of its writer, so two nodes that declined the same one look equal, also when only one of
 * them holds the value before it. Who only asks is not sent again what it declined, and sends nobody what that one declined.
 */
const aboutHeld = 0

/** A salt for a round. */
export function saltFor(random: Random, isHeldOnly: boolean): Uint8Array {
  const salt = random.bytes(saltBytes)
  salt[0] = isHeldOnly ? aboutHeld : (salt[0] ?? 0) | 1
  return salt
}

function isAboutHeld(salt: Uint8Array): boolean {
  return salt[0] === aboutHeld
}

/** Slices of which one round speaks: 1 MiB of digests. */
export const maxSlicesARound = 2 ** 18
/** Headers of an item of a list: of its array, its page id and what follows. */
export const headBytes = 16

/** What both sides do. */
export abstract class Side {
  protected readonly components: SyncComponents
  protected readonly round: Round
  /** What this round goes by, once its salt is known. */
  protected knowledge: Knowledge
  protected readonly expected = new ExpectedUpdates()
  protected moved = 0

  constructor(components: SyncComponents, channel: Channel, signal: AbortSignal) {
    const { clock, silenceMs } = components
    this.components = components
    this.knowledge = components.knowledge
    this.round = new Round({ channel, clock, silenceMs, signal })
  }

  /** What the round with this salt goes by. */
  protected goBy(salt: Uint8Array): void {
    if (isAboutHeld(salt)) this.knowledge = this.components.knowledge.ofHeld()
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
