import { expect, test } from 'vitest'
import type { NodeId } from '../../../src/core/ids.js'
import { presencePresets } from '../../../src/fleet/presence-presets.js'
import { Topology } from '../../../src/fleet/topology.js'
import { ringNeighbours } from '../../../src/fleet/watch-ring.js'
import { nodeIdOf } from '../../../src/identity/node-id.js'
import { seededRandom } from '../../support/virtual-clock.js'

const random = seededRandom(1)
const ids = (count: number): NodeId[] => Array.from({ length: count }, () => nodeIdOf(random.bytes(32)))

test('[FLEET-35] round trip and rate are moving averages with weight 0.2; impossible transfers count for nothing', () => {
  const topology = new Topology()
  const [peer] = ids(1) as [NodeId]
  topology.observeRoundTrip(peer, 10)
  topology.observeRoundTrip(peer, 20)
  topology.observe(peer, 1_000, 1_000)
  topology.observe(peer, 2_000, 500)
  topology.observe(peer, 5, 0)
  topology.observe(peer, NaN, 10)
  expect(topology.links()).toEqual([{ peer, roundTripMs: 12, bytesPerSecond: 1_600 }])
})

test('[FLEET-35] at most as many links are remembered as were asked for: the longest unmeasured go', () => {
  const topology = new Topology(2)
  const [one, two, three] = ids(3) as [NodeId, NodeId, NodeId]
  for (const peer of [one, two, one, three]) topology.observeRoundTrip(peer, 1)
  expect(topology.links().map(({ peer }) => peer)).toEqual([one, three])
})

test('[FLEET-28] packets count as lost while one answer of twenty is late, and no more after a while', () => {
  const topology = new Topology()
  const [peer] = ids(1) as [NodeId]
  for (let count = 0; count < 20; count++) topology.observeRoundTrip(peer, 5)
  expect(topology.lossy).toBe(false)
  for (let count = 0; count < 3; count++) topology.observeRoundTrip(peer, 400)
  expect(topology.lossy).toBe(true)
  for (let count = 0; count < 60; count++) topology.observeRoundTrip(peer, 5)
  expect(topology.lossy).toBe(false)
})

test('[FLEET-36] each node has exactly its watchers where all know all, and at least its own with partial views', () => {
  const all = ids(40)
  const chosen = new Map(all.map((id) => [id, ringNeighbours(id, all, 4)]))
  for (const [id, peers] of chosen) {
    expect(new Set(peers).size).toBe(4)
    expect(all.filter((other) => chosen.get(other)?.includes(id) === true).sort()).toEqual([...peers].sort())
  }
  for (const id of all) {
    const view = all.filter(() => random.float() < 0.3)
    const expected = Math.min(4, view.filter((peer) => peer !== id).length)
    expect(ringNeighbours(id, view, 4)).toHaveLength(expected)
  }
  expect(ringNeighbours(all[0] ?? expect.unreachable(), all.slice(0, 1), 4)).toEqual([])
})

test('[FLEET-22] the times of a preset follow from its ping period and its silence; what a silent cut takes follows from them', () => {
  const boundMs = Object.entries(presencePresets).map(([name, preset]) => {
    const { pingMs, answerMs, suspicionMinMs, silenceMs, suspicionMaxMs, suspicionLossyMs, hardMs } = preset
    expect(Object.isFrozen(preset)).toBe(true)
    expect([3 * answerMs, 1.5 * suspicionMinMs, 6 * hardMs]).toEqual([silenceMs, silenceMs, silenceMs])
    expect([suspicionLossyMs, suspicionMaxMs]).toEqual([2 * suspicionMinMs, 4 * suspicionMinMs])
    return [name, pingMs + 2 * answerMs + suspicionMinMs]
  })
  expect(Object.fromEntries(boundMs)).toEqual({ lan: 6_500, wan: 30_000, lowLatency: 2_000 })
})
