import { beforeEach, expect, test } from 'vitest'
import { silentLogger } from '../../../src/core/logger.js'
import { MemoryHub, MemoryNetwork } from '../../../src/net/memory-network.js'
import type { GossipMessage, GossipVerdict } from '../../../src/net/network.js'
import { Gossip } from '../../../src/record/gossip.js'
import { encodeUpdates, type PageUpdate } from '../../../src/record/wire.js'
import { virtualEnvironment } from '../../support/virtual-clock.js'
import { keyPairOf, makeStore, notePage, updateOf } from './fixtures.js'

const environment = virtualEnvironment(1)
let judge: (message: GossipMessage) => GossipVerdict
let gossip: Gossip
let published: Uint8Array[]

beforeEach(async () => {
  const { nodeId } = await keyPairOf(0)
  const network = new MemoryNetwork({ nodeId, hub: new MemoryHub({ environment }) })
  network.subscribe = (_topic, handler) => {
    judge = handler
    return () => {}
  }
  published = []
  network.publish = (_topic, data) => Promise.resolve(published.push(data))
  const store = makeStore()
  const ingest = (updates: readonly PageUpdate[]): ReturnType<typeof store.ingest> => store.ingest(updates)
  gossip = new Gossip({ network, environment, logger: silentLogger, ingest }, { topic: 'record', tickMs: 100 })
  gossip.start()
})

const verdictOf = async (update: Uint8Array): Promise<GossipVerdict> =>
  judge({ sender: (await keyPairOf(7)).nodeId, data: encodeUpdates([{ page: notePage, update }]) })

test('an honest entry travels on, also when it is known already', async () => {
  const update = updateOf(await keyPairOf(1))
  expect(await verdictOf(update)).toBe('accept')
  expect(await verdictOf(update)).toBe('accept')
})

test('what is not signed is held against whoever passed it on', async () => {
  const update = updateOf(await keyPairOf(1), { seq: 3 })
  update[update.length - 2] = (update[update.length - 2] ?? 0) ^ 1
  expect(await verdictOf(update)).toBe('reject')
  expect(await verdictOf(Uint8Array.of(1, 2, 3))).toBe('reject')
})

test('what is no message is held against whoever passed it on', async () => {
  const { nodeId: sender } = await keyPairOf(7)
  for (const data of [new Uint8Array(), Uint8Array.of(0xff), encodeUpdates([]).subarray(0, 0)]) {
    expect(judge({ sender, data })).toBe('reject')
  }
})

test('a body of another version goes no further here, and nobody is to blame', async () => {
  expect(await verdictOf(updateOf(await keyPairOf(1), { body: { later: 'form' } }))).toBe('ignore')
})

test('what is announced goes out at once when it was quiet, else with the next tick, and not after stop', async () => {
  const { clock } = environment
  const update: PageUpdate = { page: notePage, update: updateOf(await keyPairOf(0)) }
  gossip.announce([update])
  await clock.advance(1)
  expect(published).toEqual([encodeUpdates([update])])
  for (let number = 0; number < 5; number++) gossip.announce([update])
  await clock.advance(90)
  expect(published).toHaveLength(1)
  await clock.advance(10)
  expect(published).toHaveLength(2)
  gossip.announce([update])
  gossip.stop()
  await clock.advance(1000)
  expect(published).toHaveLength(2)
})
