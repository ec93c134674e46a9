import { expect, test } from 'vitest'
import { Discovery } from '../../../src/net/discovery.js'
import { libp2pDefaults } from '../../../src/net/libp2p-defaults.js'
import { virtualEnvironment } from '../../support/virtual-clock.js'

const hour = 60 * 60_000

function world(links: number, known: number) {
  const environment = virtualEnvironment(3)
  const state = { links, known, queries: 0 }
  const discovery = new Discovery({
    environment,
    knobs: libp2pDefaults,
    query: () => state.queries++,
    linkCount: () => state.links,
    knownPeers: () => state.known
  })
  return { clock: environment.clock, discovery, state }
}

test('a lonely node asks often, and at least every 12.5 s', async () => {
  const { clock, discovery, state } = world(0, 0)
  discovery.start()
  await clock.advance(10_000)
  expect(state.queries).toBeGreaterThanOrEqual(3)
  await clock.advance(hour)
  expect(state.queries).toBeGreaterThan((hour / libp2pDefaults.lonelyQueryMs) * 0.8)
})

test.each([
  [4, 60],
  [59, 6],
  [399, 1]
])('a node with %d known peers asks about %d times an hour', async (known, times) => {
  const { clock, discovery, state } = world(known, known)
  discovery.start()
  await clock.advance(24 * hour)
  expect(Math.abs(state.queries / 24 - times)).toBeLessThan(0.15 * times + 0.2)
})

test('start begins anew, stop ends it', async () => {
  const { clock, discovery, state } = world(0, 0)
  discovery.stop()
  discovery.start()
  discovery.start()
  expect(clock.pending).toBe(1)
  discovery.stop()
  await clock.advance(hour)
  expect([state.queries, clock.pending]).toEqual([0, 0])
})
