/** Sync rounds of a hostile member, begun or answered by it. */
import { sleep, type Clock } from '../../src/core/environment.js'
import type { PageId } from '../../src/core/ids.js'
import type { Channel } from '../../src/net/network.js'
import type { StateVector } from '../../src/record/page.js'
import { encodeSync, type SyncMessage } from '../../src/record/wire.js'
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
async function begin(round: HostileRound): Promise<void> {
  if (!round.isOurs) return
  const { random, otherPages, ownPages } = round.context
  const digests = [...otherPages, ...ownPages].map((page) => [page, random.bytes(16)] as const)
  await send(round, { type: 'digests', digests, last: true })
}

async function claim(round: HostileRound, clock: number): Promise<void> {
  const { random, captured } = round.context
  const vectors = new Map<PageId, Map<number, { clock: number; tag: Uint8Array }>>()
  for (const { page, chain } of captured) {
    const vector = vectors.get(page) ?? new Map<number, { clock: number; tag: Uint8Array }>()
    vectors.set(page, vector.set(chain.client, { clock, tag: random.bytes(8) }))
  }
  await send(round, { type: 'vectors', vectors: [...vectors], last: true })
}

async function finish(round: HostileRound): Promise<void> {
  await send(round, { type: 'done' })
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
    for (let count = 0; count < attackMessages; count++)
      await send(round, { type: 'digests', digests: [], last: false })
  },
  /** A list of state vectors without an end. */
  async endlessVectors(round) {
    await begin(round)
    const vector: StateVector = new Map([[7, { clock: 1, tag: new Uint8Array(8) }]])
    const vectors = round.context.otherPages.map((page) => [page, vector] as const)
    for (let count = 0; count < attackMessages; count++) await send(round, { type: 'vectors', vectors, last: false })
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
      if (update !== undefined) await send(round, { type: 'updates', updates: [update] })
    }
    await claim(round, 0)
    await finish(round)
  },
  /** Updates without an end. */
  async endlessUpdates(round) {
    await begin(round)
    for (let count = 0; count < attackMessages; count++) {
      const update = forgeries.forged(round.context)
      if (update !== undefined) await send(round, { type: 'updates', updates: [update] })
    }
  },
  /** Just often enough not to be given up. */
  async dripping(round) {
    await begin(round)
    for (let sentMs = 0; sentMs < attackMs; sentMs += 4000) {
      await send(round, { type: 'updates', updates: [] })
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
