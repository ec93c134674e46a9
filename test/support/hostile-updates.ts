/** Page updates that lie: what a hostile member sends by gossip and in sync rounds alike. */
import { parsePageId, type PageId } from '../../src/core/ids.js'
import { clientIdOf } from '../../src/record/entry.js'
import type { PageUpdate } from '../../src/record/wire.js'
import { writeUpdate, type Chain } from '../../src/record/yjs-update.js'
import { chainOf, type EntryOptions } from '../unit/record/fixtures.js'
import { below, pick, type HostileContext } from './hostile-context.js'

/** Makes an update; undefined when the member has not yet seen what it needs for it. */
export type UpdateAttack = (context: HostileContext) => PageUpdate | undefined

/** Far above every clock of the others, and still a clock. */
const farClock = 2 ** 51

function chained(page: PageId, chain: Chain): PageUpdate {
  return { page, update: writeUpdate([chain]) }
}

/** Entries that nobody may take: whoever holds one of another afterwards was deceived. */
export const forgeries = {
  /** A value under the name of another, at the clock it may have next. */
  forged(context) {
    const { random, victims, otherPages, keyPair } = context
    const [victim, page] = [pick(random, victims), pick(random, otherPages)]
    if (victim === undefined || page === undefined) return undefined
    const chain = chainOf(keyPair, { page, seq: below(random, 3), body: { text: 'forged' } })
    return chained(page, { ...chain, client: clientIdOf(page, victim), key: victim })
  },
  /** An old value of another at a later clock. */
  replayed({ random, captured }) {
    const found = pick(random, captured)
    if (found === undefined) return undefined
    const { chain, page } = found
    return chained(page, { ...chain, seq: chain.seq + 1 + below(random, 5) })
  },
  /** An entry of another on a page for which it was not signed. */
  moved({ random, captured, otherPages, victims }) {
    const [found, page] = [pick(random, captured), pick(random, otherPages)]
    const writer = pick(random, victims)
    if (found === undefined || page === undefined || page === found.page || writer === undefined) return undefined
    return chained(page, { ...found.chain, client: clientIdOf(page, writer), start: 0, key: writer })
  },
  /** The clock of another, moved so far that it could never write again. */
  silencing({ random, captured, victims }) {
    const [found, victim] = [pick(random, captured), pick(random, victims)]
    if (found === undefined || victim === undefined) return undefined
    const client = clientIdOf(found.page, victim)
    return chained(found.page, { ...found.chain, client, start: 0, seq: farClock, key: victim })
  },
  /** One bit of an honest update turned. */
  tampered({ random, captured }) {
    const found = pick(random, captured)
    if (found === undefined) return undefined
    const update = writeUpdate([found.chain])
    const at = below(random, update.byteLength)
    update[at] = (update[at] ?? 0) ^ (1 << below(random, 8))
    return { page: found.page, update }
  },
  /** Bytes. */
  noise: ({ random, otherPages }) => {
    const page = pick(random, otherPages)
    return page === undefined ? undefined : { page, update: random.bytes(below(random, 300)) }
  },
  /** A page that no room has registered, or that is out of the range of its kind. */
  junkPage({ random, keyPair }) {
    const page = parsePageId(pick(random, ['junk/1', 'state/64', 'state/x', 'note/NO', 'constructor/1']) ?? 'junk/1')
    return chained(page, chainOf(keyPair, { page }))
  },
  /** Its own entry on the page of other nodes. */
  trespassing({ random, keyPair, otherPages, ownPages }) {
    const page = pick(
      random,
      otherPages.filter((page) => page.startsWith('state/') && !ownPages.includes(page))
    )
    return page === undefined ? undefined : chained(page, chainOf(keyPair, { page }))
  },
  /** Well signed, but not of the form that the page's kind asks for. */
  shapeless({ random, keyPair, ownPages, clocks }) {
    const page = pick(random, ownPages)
    if (page === undefined) return undefined
    const body = pick<unknown>(random, [{ text: 7 }, [], 'text', null, { text: 'forbidden' }, { __proto__: 1 }])
    // Above its own: an old clock would not be looked at.
    return chained(page, chainOf(keyPair, { page, seq: (clocks.get(page) ?? 0) + 1, body }))
  },
  /** A chain that starts at a clock which nobody can know. */
  gap({ random, keyPair }) {
    const page = parsePageId(`note/g${below(random, 1000)}`)
    const seq = 1 + below(random, farClock)
    return chained(page, chainOf(keyPair, { page, start: seq, seq }))
  }
} as const satisfies Record<string, UpdateAttack>

/** The next entry of its own on a page, and the clock after it. */
function ownEntry(context: HostileContext, options: EntryOptions): PageUpdate | undefined {
  const page = pick(context.random, context.ownPages)
  if (page === undefined) return undefined
  const seq = Math.min((context.clocks.get(page) ?? 0) + below(context.random, 3), farClock)
  context.clocks.set(page, seq + 1)
  return chained(page, chainOf(context.keyPair, { page, seq, ...options }))
}

/** Entries that a member may write, however odd: everybody must hold the same of them in the end. */
export const oddities = {
  ordinary: (context) => ownEntry(context, { body: { text: `odd ${context.random.float()}` } }),
  large: (context) => ownEntry(context, { body: { text: 'x'.repeat(below(context.random, 2048)) } }),
  latest: (context) => ownEntry(context, { issuedAt: Number.MAX_SAFE_INTEGER, epoch: Number.MAX_SAFE_INTEGER }),
  /** Its clock as high as it goes: it will not write there again. */
  leaping(context) {
    const page = parsePageId(`note/leap${below(context.random, 2)}`)
    return chained(page, chainOf(context.keyPair, { page, seq: farClock + below(context.random, 2 ** 50) }))
  }
} as const satisfies Record<string, UpdateAttack>

/** Two values for one clock: what it tells one half of its neighbours, and what the other. */
export function equivocation(context: HostileContext): [PageUpdate, PageUpdate] | undefined {
  const page = pick(context.random, context.ownPages)
  if (page === undefined) return undefined
  const seq = context.clocks.get(page) ?? 0
  if (seq >= farClock) return undefined
  context.clocks.set(page, seq + 1)
  const say = (text: string): PageUpdate => chained(page, chainOf(context.keyPair, { page, seq, body: { text } }))
  return [say(`yes ${context.random.float()}`), say(`no ${context.random.float()}`)]
}
