import { beforeEach, expect, test } from 'vitest'
import { silentLogger } from '../../../src/core/logger.js'
import { parsePageId } from '../../../src/core/ids.js'
import { MemoryHub, MemoryNetwork } from '../../../src/net/memory-network.js'
import { Gossip } from '../../../src/record/gossip.js'
import { decodeUpdates, encodeUpdates, type PageUpdate } from '../../../src/record/wire.js'
import { parseUpdate } from '../../../src/record/yjs-update.js'
import { virtualEnvironment } from '../../support/virtual-clock.js'
import { keyPairOf, makeStore, notePage, updateOf } from './fixtures.js'

const environment = virtualEnvironment(1)
const { clock } = environment
let gossip: Gossip
let published: { readonly atMs: number; readonly updates: PageUpdate[] }[]

beforeEach(async () => {
  await clock.advance(60_000)
  const { nodeId } = await keyPairOf(0)
  const network = new MemoryNetwork({ nodeId, hub: new MemoryHub({ environment }) })
  published = []
  network.publish = (_topic, data) =>
    Promise.resolve(published.push({ atMs: clock.monotonic(), updates: decodeUpdates(data) }))
  const components = { network, environment, logger: silentLogger, receive: () => 'accept' as const }
  gossip = new Gossip(components, { topic: 'record', tickMs: 100 })
  gossip.start()
})

async function noteUpdate(seq: number, page = notePage): Promise<PageUpdate> {
  return { page, update: updateOf(await keyPairOf(0), { page, seq, start: seq }) }
}

test('[REC-50] what is announced goes out at once when it was quiet, else with the next tick, and not after stop', async () => {
  const update = await noteUpdate(0)
  gossip.announce([update])
  await clock.advance(1)
  expect(published.map(({ updates }) => encodeUpdates(updates))).toEqual([encodeUpdates([update])])
  for (let number = 0; number < 5; number++) gossip.announce([update])
  await clock.advance(90)
  expect(published).toHaveLength(1)
  await clock.advance(40)
  expect(published).toHaveLength(2)
  gossip.announce([update])
  gossip.stop()
  await clock.advance(1000)
  expect(published).toHaveLength(2)
})

test('[REC-50] of several values of one page that wait, only the latest goes out, whole enough for a stranger', async () => {
  const other = parsePageId('note/b')
  gossip.announce([await noteUpdate(0)])
  await clock.advance(1)
  for (const seq of [1, 2, 3]) gossip.announce([await noteUpdate(seq)])
  for (const seq of [0, 1, 2]) gossip.announce([await noteUpdate(seq, other)])
  await clock.advance(200)
  const chains = published.flatMap(({ updates }) => updates.flatMap(({ update }) => parseUpdate(update)))
  expect(chains.map(({ start, seq }) => [start, seq])).toEqual([
    [0, 0],
    [1, 3],
    [0, 2]
  ])
  const store = makeStore()
  const results = published.map(({ updates }) => store.ingest(updates))
  expect(results.flatMap(({ refusals }) => refusals)).toEqual([])
  expect(results.some(({ gap }) => gap)).toBe(false)
  expect(store.entries(other).map(({ seq }) => seq)).toEqual([2])
})

test('[REC-50] in a storm the time between two messages grows to 2 s, and is short again after it', async () => {
  for (let seq = 0; seq < 400; seq++) {
    gossip.announce([await noteUpdate(seq)])
    await clock.advance(50)
  }
  const gaps = published.slice(1).map(({ atMs }, at) => atMs - (published[at]?.atMs ?? 0))
  expect(gaps[0]).toBeLessThan(130)
  expect(Math.max(...gaps)).toBeLessThanOrEqual(2000)
  expect(gaps.at(-1)).toBeGreaterThan(1900)
  expect(published.length).toBeLessThan(25)
  await clock.advance(5000)
  const before = published.length
  for (const seq of [400, 401]) {
    gossip.announce([await noteUpdate(seq)])
    await clock.advance(110)
  }
  expect(published).toHaveLength(before + 2)
})
