import { describe, expect, inject, test } from 'vitest'
import { presencePresets } from '../../src/fleet/presence-presets.js'
import { WatchFleet } from '../support/watch-fleet.js'

const seeds = Array.from({ length: inject('seeds') }, (_, index) => index + 1)
/** Large fleets take their time: two of them. */
const runs = [20, 50].flatMap((count) =>
  seeds.slice(0, count < 50 ? undefined : 1).map((seed): [number, number] => [count, seed])
)

describe.each(runs)('%i nodes, seed %i', (count, seed) => {
  test('[FLEET-21] a killed process is known to all within 1.5 s, and nobody else is failed', async () => {
    const fleet = await WatchFleet.started(seed, count)
    const sinceMs = fleet.clock.monotonic()
    const killed = fleet.node(seed % count)
    fleet.kill(killed)
    const tookMs = await fleet.timeUntil(() => fleet.allSee(killed.id, 'failed'), 10_000)
    expect(tookMs).toBeLessThanOrEqual(1_500)
    expect(fleet.allAlive()).toBe(true)
    await fleet.clock.advance(20_000)
    expect([...fleet.everFailed(sinceMs)]).toEqual([killed.id])
    expect(fleet.allSee(killed.id, 'failed')).toBe(true)
    await fleet.stop()
  })

  test('[FLEET-22] a silent cut is known to all within 7 s, and all is well within seconds after the heal', async () => {
    const fleet = await WatchFleet.started(seed, count)
    const lost = fleet.node(seed % count)
    const others = fleet.nodes.filter((node) => node !== lost)
    fleet.silence([lost])
    const tookMs = await fleet.timeUntil(() => fleet.allSee(lost.id, 'failed', others), 20_000)
    expect(tookMs).toBeLessThanOrEqual(7_000)
    expect(fleet.allAlive(others)).toBe(true)
    await fleet.clock.advance(5_000)
    fleet.heal([lost])
    const healedMs = await fleet.timeUntil(() => fleet.allAlive(), 60_000)
    expect(healedMs).toBeLessThanOrEqual(5_000)
    await fleet.stop()
  })

  test('[FLEET-23] a process that stands still for 3 s is failed by nobody, and accuses nobody', async () => {
    const fleet = await WatchFleet.started(seed, count)
    const sinceMs = fleet.clock.monotonic()
    for (const first of ['sockets', 'timers'] as const) {
      const frozen = fleet.node(seed % count)
      fleet.freeze(frozen)
      await fleet.clock.advance(3_000)
      fleet.thaw(frozen, first)
      await fleet.clock.advance(10_000)
    }
    expect(fleet.everFailed(sinceMs).size).toBe(0)
    expect(fleet.allAlive()).toBe(true)
    await fleet.stop()
  })

  test('[FLEET-23] of a process that stands still for 10 s only it is failed, and it is back a second after it wakes', async () => {
    const fleet = await WatchFleet.started(seed, count)
    for (const first of ['sockets', 'timers'] as const) {
      const sinceMs = fleet.clock.monotonic()
      const frozen = fleet.node(seed % count)
      fleet.freeze(frozen)
      await fleet.clock.advance(10_000)
      expect([...fleet.everFailed(sinceMs)]).toEqual([frozen.id])
      fleet.thaw(frozen, first)
      const tookMs = await fleet.timeUntil(() => fleet.allAlive(), 10_000)
      expect(tookMs).toBeLessThanOrEqual(1_000)
      await fleet.clock.advance(10_000)
      expect([...fleet.everFailed(sinceMs)]).toEqual([frozen.id])
    }
    await fleet.stop()
  })

  test('[FLEET-24] a node that is told to stop has left, at once and everywhere, and nobody suspected it', async () => {
    const fleet = await WatchFleet.started(seed, count)
    const sinceMs = fleet.clock.monotonic()
    const leaving = fleet.node(seed % count)
    await fleet.leave(leaving)
    const tookMs = await fleet.timeUntil(() => fleet.allSee(leaving.id, 'left'), 10_000)
    expect(tookMs).toBeLessThanOrEqual(150)
    await fleet.clock.advance(20_000)
    const states = new Set(
      fleet.nodes.flatMap(({ seen }) => seen.filter(({ atMs }) => atMs >= sinceMs)).map(({ state }) => state)
    )
    expect([...states]).toEqual(['left'])
    await fleet.stop()
  })

  test('[FLEET-25] who comes back is alive at once everywhere: after a kill, a stop, and with a clock that is a year behind', async () => {
    const fleet = await WatchFleet.started(seed, count)
    const number = seed % count
    fleet.kill(fleet.node(number))
    await fleet.clock.advance(5_000)
    const yearMs = 365 * 24 * 60 * 60 * 1000
    for (const wallMs of [0, -yearMs, -2 * yearMs]) {
      const node = await fleet.start(number, wallMs)
      const tookMs = await fleet.timeUntil(() => fleet.allAlive(), 10_000)
      expect(tookMs).toBeLessThanOrEqual(2_000)
      await fleet.clock.advance(1_000)
      if (wallMs < 0) await fleet.leave(node)
      else fleet.kill(node)
      await fleet.clock.advance(3_000)
    }
    await fleet.stop()
  })

  test('[FLEET-26] each side of a partition sees the other as failed, and all are alive seconds after the heal', async () => {
    const fleet = await WatchFleet.started(seed, count)
    for (const lastsMs of [30_000, 90_000]) {
      const side = fleet.nodes.filter(({ number }) => number % 2 === 0)
      const others = fleet.nodes.filter(({ number }) => number % 2 === 1)
      fleet.silence(side)
      await fleet.clock.advance(lastsMs)
      for (const { watch } of side)
        expect(others.map(({ id }) => watch.stateOf(id))).toEqual(others.map(() => 'failed'))
      for (const { watch } of others) expect(side.map(({ id }) => watch.stateOf(id))).toEqual(side.map(() => 'failed'))
      expect(fleet.allAlive(side) && fleet.allAlive(others)).toBe(true)
      fleet.heal(side)
      const tookMs = await fleet.timeUntil(() => fleet.allAlive(), 60_000)
      expect(tookMs).toBeLessThanOrEqual(15_000)
      await fleet.clock.advance(10_000)
      expect(fleet.allAlive()).toBe(true)
    }
    await fleet.stop()
  })

  test('[FLEET-27] when one direction of a link fails, nothing flaps, and both sides say which', async () => {
    const fleet = await WatchFleet.started(seed, count)
    const one = fleet.node(seed % count)
    const watched = one.watch.links()[0]?.peer
    const two = fleet.nodes.find(({ id }) => id === watched)
    if (two === undefined) return expect.unreachable()
    const sinceMs = fleet.clock.monotonic()
    fleet.hub.mute(one.id, two.id)
    await fleet.clock.advance(20_000)
    expect(one.watch.links().find(({ peer }) => peer === two.id)?.impaired).toBe('outgoing')
    expect(two.watch.links().find(({ peer }) => peer === one.id)?.impaired).toBe('incoming')
    await fleet.clock.advance(100_000)
    const later = fleet.nodes.flatMap(({ seen }) => seen.filter(({ atMs }) => atMs >= sinceMs))
    expect(later).toEqual([])
    await fleet.stop()
  })
})

test.each(seeds)(
  '[FLEET-36] 50 nodes with 6 links of their own each: a kill is known to all within 1.5 s, a silent cut within 7 s, seed %i',
  async (seed) => {
    const fleet = await WatchFleet.started(seed, 50, { maxLinks: 6 })
    const sinceMs = fleet.clock.monotonic()
    const killed = fleet.node(seed % 50)
    fleet.kill(killed)
    const killMs = await fleet.timeUntil(() => fleet.allSee(killed.id, 'failed'), 20_000)
    await fleet.clock.advance(5_000)
    const lost = fleet.node((seed + 20) % 50)
    const others = fleet.nodes.filter((node) => node !== lost)
    fleet.silence([lost])
    const cutMs = await fleet.timeUntil(() => fleet.allSee(lost.id, 'failed', others), 20_000)
    expect(killMs).toBeLessThanOrEqual(1_500)
    expect(cutMs).toBeLessThanOrEqual(7_000)
    const failed = others.flatMap(({ seen }) => seen.filter(({ atMs, state }) => atMs >= sinceMs && state === 'failed'))
    expect(new Set(failed.map(({ nodeId }) => nodeId))).toEqual(new Set([killed.id, lost.id]))
    await fleet.stop()
  }
)

test.each(seeds)(
  '[FLEET-21] 10 of 20 nodes are killed in one moment: all are known within 15 s, none else, seed %i',
  async (seed) => {
    const fleet = await WatchFleet.started(seed, 20)
    const killed = fleet.nodes.filter(({ number }) => (number * 7 + seed) % 20 < 10)
    for (const node of killed) fleet.kill(node)
    const tookMs = await fleet.timeUntil(() => killed.every(({ id }) => fleet.allSee(id, 'failed')), 60_000)
    expect(tookMs).toBeLessThanOrEqual(15_000)
    expect(fleet.allAlive()).toBe(true)
    await fleet.stop()
  }
)

test.each([20, 50])(
  '[FLEET-37] an idle fleet of %i nodes costs each node the pings of its four watch links, and no gossip',
  async (count) => {
    const fleet = await WatchFleet.started(1, count)
    const before = fleet.meanTrafficBytes()
    await fleet.clock.advance(100_000)
    const bytesPerSecond = (fleet.meanTrafficBytes() - before) / 100
    // A ping has at most 1 + 1 + 5 + 9 + 1 + 3 bytes, a pong 3 less; each link has one of both in at least 0.8 periods.
    const perLinkBytes = 20 + 17
    expect(bytesPerSecond).toBeLessThanOrEqual((presencePresets.lan.watchLinks * perLinkBytes) / (0.8 * 2.5))
    expect(bytesPerSecond).toBeGreaterThan(20)
    await fleet.stop()
  }
)
