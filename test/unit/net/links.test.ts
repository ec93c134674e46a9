import type { Connection, PeerId } from '@libp2p/interface'
import { describe, expect, test } from 'vitest'
import { silentLogger } from '../../../src/core/logger.js'
import type { NodeId } from '../../../src/core/ids.js'
import { nodeIdOf as idOfKey } from '../../../src/identity/node-id.js'
import { libp2pDefaults } from '../../../src/net/libp2p-defaults.js'
import { Links } from '../../../src/net/links.js'
import type { PeerEvent } from '../../../src/net/network.js'
import { TrafficMeter } from '../../../src/net/traffic-meter.js'
import { virtualEnvironment } from '../../support/virtual-clock.js'

const knobs = libp2pDefaults
const ids = [1, 2, 3].map((byte) => idOfKey(new Uint8Array(32).fill(byte))).sort()
const [small, middle, large] = ids as [NodeId, NodeId, NodeId]

interface FakeStream {
  protocol: string
  direction: 'inbound' | 'outbound'
  writeStatus: string
  remoteWriteStatus: string
}

const gossipStreams = (): FakeStream[] =>
  (['inbound', 'outbound'] as const).map((direction) => ({
    protocol: '/meshsub/1.2.0',
    direction,
    writeStatus: 'writable',
    remoteWriteStatus: 'writable'
  }))

/** The table of links of one node, and connections that only have what it looks at. */
function world(self: NodeId) {
  const { clock } = virtualEnvironment(1)
  const received = new Map<object, number>()
  class FakeMeter extends TrafficMeter {
    override receivedBytes({ timeline }: { readonly timeline: object }): number {
      return received.get(timeline) ?? 0
    }
  }
  const links = new Links({ self, clock, logger: silentLogger, meter: new FakeMeter(), knobs })
  const events: PeerEvent[] = []
  links.onPeer((event) => events.push(event))
  let count = 0
  const connect = (peer: NodeId, streams = gossipStreams()) => {
    const end = (): void => {
      connection.status = 'closed'
      links.lost(connection as unknown as Connection)
    }
    const connection = {
      id: `${count++}`,
      status: 'open',
      timeline: {},
      streams,
      remotePeer: { toString: () => peer } as unknown as PeerId,
      abort: end,
      close: () => Promise.resolve(end())
    }
    links.opened(connection as unknown as Connection)
    return connection
  }
  return { clock, links, events, received, connect }
}

describe('links', () => {
  test('a peer is connected from its first connection to its last', () => {
    const { links, events, connect } = world(small)
    const one = connect(large)
    const two = connect(large)
    expect(links.connection(large)).toBe(two)
    one.abort()
    expect(links.has(large)).toBe(true)
    two.abort()
    two.abort()
    expect([events.map(({ type }) => type), links.peers]).toEqual([['connected', 'disconnected'], []])
  })

  test('a peer whose key is not Ed25519 is refused', () => {
    expect(world(small).links.refuses(undefined, 'inbound', 'secured')).toBe(true)
  })

  test('dialled at once: the smaller id takes the first and refuses the other, the larger one refuses neither', () => {
    const one = world(small).links
    expect([one.refuses(large, 'inbound', 'secured'), one.refuses(large, 'outbound', 'secured')]).toEqual([false, true])
    const two = world(large).links
    expect([two.refuses(small, 'outbound', 'secured'), two.refuses(small, 'inbound', 'secured')]).toEqual([
      false,
      false
    ])
  })

  test('the claim of a dial that failed does not stand in the way', async () => {
    const { clock, links } = world(small)
    expect(links.refuses(large, 'outbound', 'secured')).toBe(false)
    links.dialFailed(large)
    expect(links.refuses(large, 'inbound', 'secured')).toBe(false)
    expect(links.refuses(middle, 'inbound', 'secured')).toBe(false)
    expect(links.refuses(middle, 'inbound', 'secured')).toBe(true)
    await clock.advance(knobs.simultaneousDialMs)
    expect(links.refuses(middle, 'inbound', 'secured')).toBe(false)
  })

  test('with a link, our own second dial is refused at any age', async () => {
    for (const self of [small, large]) {
      const { clock, links, connect } = world(self)
      connect(middle)
      expect(links.refuses(middle, 'outbound', 'secured')).toBe(true)
      await clock.advance(knobs.simultaneousDialMs)
      expect(links.refuses(middle, 'outbound', 'upgraded')).toBe(true)
      expect(links.has(middle)).toBe(true)
    }
  })

  test('a peer that dials again has lost its end: the old link goes, the new one comes', async () => {
    const { clock, links, events, connect } = world(small)
    connect(large)
    expect(links.refuses(large, 'inbound', 'secured')).toBe(true)
    await clock.advance(knobs.simultaneousDialMs)
    expect(links.refuses(large, 'inbound', 'secured')).toBe(false)
    connect(large)
    expect(events.map(({ type }) => type)).toEqual(['connected', 'disconnected', 'connected'])
  })

  test('a peer that was hung up on may not come back for a while', async () => {
    const { clock, links, connect } = world(small)
    connect(large)
    await links.hold(large)
    expect([links.has(large), links.isHeld(large), links.refuses(large, 'inbound', 'secured')]).toEqual([
      false,
      true,
      true
    ])
    expect(links.refuses(large, 'outbound', 'secured')).toBe(false)
    await clock.advance(knobs.hangUpHoldMs)
    links.dialFailed(large)
    expect([links.isHeld(large), links.refuses(large, 'inbound', 'secured')]).toEqual([false, false])
  })

  test('a link is cut after three checks without a byte; one byte is enough to keep it', async () => {
    const { links, received, connect } = world(small)
    const connection = connect(large)
    const alive = connect(middle)
    received.set(connection.timeline, 100)
    for (let round = 0; round < 3; round++) {
      received.set(alive.timeline, round + 1)
      links.check()
      expect(links.has(large)).toBe(true)
    }
    links.check()
    expect([links.has(large), links.has(middle)]).toEqual([false, true])
  })

  test.each([
    ['inbound', 'remoteWriteStatus'],
    ['outbound', 'writeStatus']
  ] as const)(
    'a link whose %s gossip stream is gone is renewed, but not before it had time to come',
    async (direction, status) => {
      for (const streams of [gossipStreams().filter((stream) => stream.direction !== direction), gossipStreams()]) {
        const { clock, links, received, connect } = world(small)
        const connection = connect(large, streams)
        for (const stream of streams) if (stream.direction === direction) stream[status] = 'closed'
        received.set(connection.timeline, 1)
        links.check()
        expect(links.has(large)).toBe(true)
        await clock.advance(knobs.gossipGraceMs + 1)
        received.set(connection.timeline, 2)
        links.check()
        expect(links.has(large)).toBe(false)
      }
    }
  )
})
