/** Sync rounds of a hostile member, begun or answered by it. */
import { sleep, type Clock } from '../../src/core/environment.js'
import type { PageId } from '../../src/core/ids.js'
import type { Channel } from '../../src/net/network.js'
import { tagBytes } from '../../src/record/page.js'
import { sliceDigestBytes } from '../../src/record/slices.js'
import { encodeSync, saltBytes, shortDigestBytes, type SyncMessage } from '../../src/record/sync-messages.js'
import { below, pick, type HostileContext } from './hostile-context.js'
import { forgeries, type UpdateAttack } from './hostile-updates.js'

/** A round with a peer. */
export interface HostileRound {
  readonly context: HostileContext
  readonly channel: Channel
  readonly clock: Clock
  /** Whether the hostile member began it. */
  readonly isOurs: boolean
}

type RoundAttack = (round: HostileRound) => Promise<void>

/** No attack goes on for longer than about this, ms, and none sends more messages than that. */
const attackMs = 30_000
const attackMessages = 200
const farClock = 2 ** 51

function send({ channel }: HostileRound, message: SyncMessage): Promise<void> {
  return channel.send([encodeSync(message)])
}

/** As an honest initiator begins, but with digests of chance; a responder first waits for nothing. */
/** In the order that a list of pages must have. */
function pagesOf({ otherPages, ownPages }: HostileContext): PageId[] {
  return [...new Set([...otherPages, ...ownPages])].toSorted()
}

/** As an honest peer begins or answers, but with digests of chance. */
async function begin(round: HostileRound): Promise<void> {
  const { random } = round.context
  const pages = pagesOf(round.context)
  if (!round.isOurs) {
    const items = pages.map((page) => [page, random.bytes(shortDigestBytes)] as const)
    return send(round, { type: 'pages', items, last: true })
  }
  await send(round, { type: 'open', salt: random.bytes(saltBytes), digest: random.bytes(16) })
  const items = pages.map((page) => ({ page, bits: 0, digests: random.bytes(sliceDigestBytes) }))
  await send(round, { type: 'slices', items, last: true })
}

/** Says that it knows every writer up to this clock, or, when it began the round, which entries it wants. */
async function claim(round: HostileRound, clock: number): Promise<void> {
  const { random, captured } = round.context
  if (round.isOurs) {
    const items = clock > 0 ? [] : pagesOf(round.context).map((page) => ({ page, rows: undefined }))
    return send(round, { type: 'wants', items, last: true })
  }
  const items = pagesOf(round.context).map((page) => {
    const clients = new Set(captured.filter((one) => one.page === page).map(({ chain }) => chain.client))
    const rows = [...clients]
      .toSorted((a, b) => a - b)
      .map((client) => ({ client, clock, tag: random.bytes(tagBytes) }))
    return { page, bits: 0, slices: [0], rows }
  })
  await send(round, { type: 'vectors', items, last: true })
}

async function finish(round: HostileRound): Promise<void> {
  await send(round, { type: 'done', more: false })
  await round.channel.close()
}

/** Every one of them, by name. */
export const syncAttacks = {
  /** Says nothing. */
  silent: ({ clock }) => sleep(clock, attackMs),
  /** Ends at once. */
  hasty: ({ channel }) => channel.close(),
  async garbage({ channel, context }) {
    for (let count = 0; count < 10; count++) await channel.send([context.random.bytes(below(context.random, 2000))])
  },
  outOfTurn: finish,
  /** A list of digests without an end. */
  async endlessDigests(round) {
    for (let count = 0; count < attackMessages; count++) await send(round, { type: 'pages', items: [], last: false })
  },
  /** A list of state vectors without an end. */
  async endlessVectors(round) {
    await begin(round)
    const row = { client: 7, clock: 1, tag: new Uint8Array(tagBytes) }
    const items = pagesOf(round.context).map((page) => ({ page, bits: 0, slices: [0], rows: [row] }))
    for (let count = 0; count < attackMessages; count++) await send(round, { type: 'vectors', items, last: false })
  },
  /** Claims to know everything, so that it is told nothing. */
  async knowsAll(round) {
    await begin(round)
    await claim(round, farClock)
    await finish(round)
  },
  /** Claims to know nothing, so that it is told everything. */
  async knowsNothing(round) {
    await begin(round)
    await claim(round, 0)
    await finish(round)
  },
  /** Lies among the updates. */
  async forgedUpdates(round) {
    await begin(round)
    const attacks = Object.values<UpdateAttack>(forgeries)
    for (let count = 0; count < 20; count++) {
      const update = pick(round.context.random, attacks)?.(round.context)
      if (update !== undefined) await send(round, { type: 'updates', items: [update] })
    }
    await claim(round, 0)
    await finish(round)
  },
  /** Updates without an end. */
  async endlessUpdates(round) {
    await begin(round)
    for (let count = 0; count < attackMessages; count++) {
      const update = forgeries.forged(round.context)
      if (update !== undefined) await send(round, { type: 'updates', items: [update] })
    }
  },
  /** Just often enough not to be given up. */
  async dripping(round) {
    await begin(round)
    for (let sentMs = 0; sentMs < attackMs; sentMs += 4000) {
      await send(round, { type: 'updates', items: [] })
      await sleep(round.clock, 4000)
    }
  }
} as const satisfies Record<string, RoundAttack>

/** Attacks in a round; reads what comes meanwhile, as an honest peer would. */
export async function attackRound(name: keyof typeof syncAttacks, round: HostileRound): Promise<void> {
  const reading = drain(round.channel)
  try {
    await syncAttacks[name](round)
  } finally {
    round.channel.abort(new Error('The attack is over'))
    await reading
  }
}

async function drain(channel: Channel): Promise<void> {
  try {
    const frames = channel.frames()[Symbol.asyncIterator]()
    while ((await frames.next()).done !== true);
  } catch {
    // The honest side hung up: that is what it is there for.
  }
}
