import { describe, expect, test } from 'vitest'
import { silentLogger } from '../../../src/core/logger.js'
import type { NodeId } from '../../../src/core/ids.js'
import { libp2pDefaults } from '../../../src/net/libp2p-defaults.js'
import { Redialer } from '../../../src/net/redial.js'
import { virtualEnvironment } from '../../support/virtual-clock.js'

const knobs = libp2pDefaults
const peer = 'peer' as NodeId
const minute = 60_000

/** A redialer in a world where the test says who answers. */
function world(seed = 1, self = 'a') {
  const environment = virtualEnvironment(seed)
  const linked = new Set<NodeId>()
  const held = new Set<NodeId>()
  const dials: { readonly atMs: number; readonly addresses: readonly string[] }[] = []
  const answering = new Map<string, NodeId>()
  const state = { linkCount: 0, hangs: false }
  /** Each fails a dial that hangs. */
  const pending: (() => void)[] = []
  const dial = async (addresses: readonly string[]): Promise<NodeId> => {
    dials.push({ atMs: environment.clock.monotonic(), addresses })
    if (state.hangs) return new Promise((_, reject) => pending.push(() => reject(new Error('nobody answers'))))
    const found = addresses.map((address) => answering.get(address)).find((node) => node !== undefined)
    if (found === undefined) return Promise.reject(new Error('nobody answers'))
    linked.add(found)
    return Promise.resolve(found)
  }
  const redialer = new Redialer({
    self: self as NodeId,
    environment,
    logger: silentLogger,
    knobs,
    dial,
    isLinked: (node) => linked.has(node),
    isHeld: (node) => held.has(node),
    linkCount: () => state.linkCount
  })
  return { clock: environment.clock, redialer, linked, held, dials, answering, state, pending }
}

describe('redialling', () => {
  test('a discovered peer is dialled soon, at its latest addresses first, and left alone once linked', async () => {
    const { clock, redialer, dials, answering } = world()
    redialer.start()
    redialer.learn(peer, ['old'])
    redialer.learn(peer, ['new'])
    answering.set('old', peer)
    await clock.advance(knobs.discoveryDelayMs)
    expect(dials.map(({ addresses }) => addresses)).toEqual([['new', 'old']])
    await clock.advance(10 * minute)
    redialer.learn(peer, ['new'])
    await clock.advance(10 * minute)
    expect(dials).toHaveLength(1)
  })

  test('the node with the larger id dials later, after a discovery and after a loss', async () => {
    const [first, second] = [world(1, 'a'), world(1, 'z')]
    for (const { clock, redialer, dials, answering, linked } of [first, second]) {
      answering.set('address', peer)
      redialer.start()
      redialer.learn(peer, ['address'])
      await clock.advance(minute)
      linked.delete(peer)
      redialer.lost(peer)
      await clock.advance(minute)
      expect(dials).toHaveLength(2)
    }
    for (const turn of [0, 1]) {
      const laterMs = (second.dials[turn]?.atMs ?? 0) - (first.dials[turn]?.atMs ?? 0)
      expect(laterMs).toBeCloseTo(knobs.yieldMs, 3)
    }
  })

  test('a peer that does not answer is dialled at growing intervals, never rarer than the cap', async () => {
    const { clock, redialer, dials } = world()
    redialer.start()
    redialer.learn(peer, ['address'])
    await clock.advance(30 * minute)
    const gaps = dials.slice(1).map(({ atMs }, index) => atMs - (dials[index]?.atMs ?? 0))
    expect(gaps[0]).toBeLessThan(2 * 2 * knobs.redialBaseMs)
    expect(Math.max(...gaps)).toBeLessThanOrEqual(1.25 * knobs.redialMaxMs)
    expect(gaps.length).toBeGreaterThan((30 * 60 * 1000) / (1.25 * knobs.redialMaxMs) - 1)
    expect(gaps.length).toBeLessThan(100)
  })

  test('[NET-3] a cut of any length heals within the cap after the peer answers again', async () => {
    for (const cutMinutes of [1, 3, 60, 600]) {
      const { clock, redialer, linked, answering, dials } = world(cutMinutes)
      redialer.start()
      redialer.learn(peer, ['address'])
      answering.set('address', peer)
      await clock.advance(1000)
      answering.delete('address')
      linked.delete(peer)
      redialer.lost(peer)
      await clock.advance(cutMinutes * minute)
      expect(linked.has(peer)).toBe(false)
      answering.set('address', peer)
      await clock.advance(1.25 * knobs.redialMaxMs)
      expect([linked.has(peer), dials.length > 2]).toEqual([true, true])
    }
  })

  test('an answer of the local network ends the wait', async () => {
    const { clock, redialer, linked, answering } = world()
    redialer.start()
    redialer.learn(peer, ['address'])
    await clock.advance(20 * minute)
    answering.set('address', peer)
    redialer.learn(peer, ['address'])
    await clock.advance(knobs.discoveryDelayMs)
    expect(linked.has(peer)).toBe(true)
  })

  test('a flood of announcements does not become a flood of dials', async () => {
    const { clock, redialer, dials } = world()
    redialer.start()
    for (let count = 0; count < 6000; count++) {
      redialer.learn(peer, [`address ${count}`])
      await clock.advance(10)
    }
    expect(dials.length).toBeLessThan(40)
    expect(Math.max(...dials.map(({ addresses }) => addresses.length))).toBe(knobs.maxAddressesPerPeer)
  })

  test('a configured address is dialled for ever, a learnt one for a day', async () => {
    const { clock, redialer, dials } = world()
    redialer.keep('configured')
    redialer.start()
    redialer.learn(peer, ['learnt'])
    await clock.advance(knobs.forgetAfterMs + 10 * minute)
    dials.length = 0
    await clock.advance(60 * minute)
    expect(new Set(dials.flatMap(({ addresses }) => addresses))).toEqual(new Set(['configured']))
    expect(redialer.size).toBe(1)
  })

  test('a configured address whose owner has linked by itself is left alone', async () => {
    const { clock, redialer, dials, answering, linked } = world()
    redialer.keep('configured')
    redialer.start()
    answering.set('configured', peer)
    await clock.advance(1000)
    linked.delete(peer)
    redialer.lost(peer)
    linked.add(peer)
    await clock.advance(10 * minute)
    expect(dials).toHaveLength(1)
  })

  test('with enough links only configured peers are dialled', async () => {
    const { clock, redialer, dials, state } = world()
    state.linkCount = knobs.maxDialledLinks
    redialer.keep('configured')
    redialer.start()
    redialer.learn(peer, ['learnt'])
    await clock.advance(5 * minute)
    expect(new Set(dials.flatMap(({ addresses }) => addresses))).toEqual(new Set(['configured']))
    state.linkCount = knobs.maxDialledLinks - 1
    await clock.advance(1.25 * knobs.redialMaxMs)
    expect(dials.some(({ addresses }) => addresses.includes('learnt'))).toBe(true)
  })

  test('[NET-25] with enough links a few lost peers are dialled all the same, one at a time', async () => {
    const { clock, redialer, linked, dials, answering, state } = world()
    const lost = Array.from({ length: 40 }, (_, index) => `lost ${index}` as NodeId)
    redialer.start()
    for (const node of lost) {
      linked.add(node)
      redialer.learn(node, [`at ${node}`])
    }
    redialer.learn(peer, ['never linked'])
    state.linkCount = knobs.maxDialledLinks
    for (const node of lost) {
      linked.delete(node)
      redialer.lost(node)
    }
    await clock.advance(60 * minute)
    expect(linked.size).toBe(0)
    for (const node of lost) answering.set(`at ${node}`, node)
    answering.set('never linked', peer)
    await clock.advance(1.25 * knobs.redialMaxMs)
    expect(linked.size).toBe(knobs.maxRegainedLinks)
    await clock.advance(60 * minute)
    expect(linked.size).toBe(knobs.maxRegainedLinks)
    expect(dials.some(({ addresses }) => addresses.includes('never linked'))).toBe(false)
    const [regained] = linked
    if (regained === undefined) return expect.unreachable()
    linked.delete(regained)
    redialer.lost(regained)
    await clock.advance(1.25 * knobs.redialMaxMs)
    expect(linked.size).toBe(knobs.maxRegainedLinks)
  })

  test('[NET-25] dials of lost peers that hang are never two at once while there are enough links', async () => {
    const { clock, redialer, linked, state, pending } = world()
    state.linkCount = knobs.maxDialledLinks
    state.hangs = true
    redialer.start()
    for (const node of ['one', 'two', 'three'] as NodeId[]) {
      linked.add(node)
      redialer.learn(node, [node])
      linked.delete(node)
      redialer.lost(node)
    }
    await clock.advance(10 * minute)
    expect(pending).toHaveLength(1)
    pending.splice(0).forEach((fail) => fail())
    await clock.advance(2 * minute)
    expect(pending).toHaveLength(1)
  })

  test('a peer that we hung up on is left alone until the hold ends', async () => {
    const { clock, redialer, dials, held } = world()
    redialer.start()
    held.add(peer)
    redialer.learn(peer, ['address'])
    redialer.lost(peer)
    await clock.advance(5 * minute)
    expect(dials).toEqual([])
    held.delete(peer)
    await clock.advance(1.25 * knobs.redialMaxMs)
    expect(dials.length).toBeGreaterThan(0)
  })

  test('memory is bounded: the peer that was silent longest makes room, linked ones stay', async () => {
    const { clock, redialer, linked, dials } = world()
    redialer.start()
    redialer.learn(peer, ['first'])
    linked.add(peer)
    for (let count = 0; count < 2 * knobs.maxKnownPeers; count++) {
      redialer.learn(`peer ${count}` as NodeId, [`address ${count}`])
      await clock.advance(1)
    }
    expect(redialer.size).toBe(knobs.maxKnownPeers)
    dials.length = 0
    linked.delete(peer)
    redialer.lost(peer)
    await clock.advance(2 * knobs.redialBaseMs)
    expect(dials.some(({ addresses }) => addresses.includes('first'))).toBe(true)
  })

  test('after stop nothing is dialled; a new start begins with what is configured', async () => {
    const { clock, redialer, dials } = world()
    redialer.keep('configured')
    redialer.start()
    redialer.learn(peer, ['learnt'])
    await clock.advance(minute)
    redialer.stop()
    dials.length = 0
    await clock.advance(10 * minute)
    expect([dials.length, clock.pending]).toEqual([0, 0])
    redialer.start()
    await clock.advance(minute)
    expect(new Set(dials.flatMap(({ addresses }) => addresses))).toEqual(new Set(['configured']))
  })
})
