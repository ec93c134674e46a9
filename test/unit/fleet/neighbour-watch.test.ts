import { describe, expect, test } from 'vitest'
import { encode } from '../../../src/core/codec.js'
import type { NodeId } from '../../../src/core/ids.js'
import {
  decodeMessage,
  encodeMessage,
  makeAccusation,
  makeStatement,
  type Statement
} from '../../../src/fleet/presence-message.js'
import { encodeFrame, maxWatchFrameBytes } from '../../../src/fleet/watch-frame.js'
import { SignatureVerifier } from '../../../src/identity/signature.js'
import { MemoryNetwork } from '../../../src/net/memory-network.js'
import type { Channel } from '../../../src/net/network.js'
import { WatchFleet } from '../../support/watch-fleet.js'
import { keyPairOf } from '../record/fixtures.js'

/** A member that speaks the protocol as it likes: it hears all gossip and says what it is told to. */
async function hostile(fleet: WatchFleet, number: number) {
  const keyPair = await keyPairOf(number)
  const network = new MemoryNetwork({ nodeId: keyPair.nodeId, hub: fleet.hub })
  const verifier = new SignatureVerifier()
  const heard: Uint8Array[] = []
  network.subscribe('presence', ({ data }) => {
    heard.push(data)
    return 'accept'
  })
  network.start()
  await fleet.clock.advance(500)
  /** What a node last said of itself in gossip. */
  const wordsOf = (nodeId: NodeId): Statement => {
    const messages = heard.map((bytes) => decodeMessage(bytes, verifier))
    const words = messages.findLast((message) => message.type === 'alive' && message.nodeId === nodeId)
    return words?.type === 'alive' ? words : expect.unreachable()
  }
  return { keyPair, network, heard, wordsOf, say: (bytes: Uint8Array) => void network.publish('presence', bytes) }
}

/** Makes a node restart, so that all hear its words. */
async function restart(fleet: WatchFleet, number: number): Promise<NodeId> {
  fleet.kill(fleet.node(number))
  const { id } = await fleet.start(number)
  await fleet.clock.advance(1_000)
  return id
}

describe('a hostile member', () => {
  test('[FLEET-29] cannot fail a live node alone, whatever it pretends; the accused refutes each time', async () => {
    const fleet = await WatchFleet.started(1, 10)
    const attacker = await hostile(fleet, 90)
    const victim = await restart(fleet, 3)
    const sinceMs = fleet.clock.monotonic()
    for (let round = 0; round < 10; round++) {
      const words = attacker.wordsOf(victim)
      attacker.say(encodeMessage(makeAccusation(attacker.keyPair, words, round % 2 === 0)))
      await fleet.clock.advance(1_000)
      expect(fleet.allAlive()).toBe(true)
      expect(attacker.wordsOf(victim).seq).toBe(words.seq + 1)
    }
    expect([...fleet.everFailed(sinceMs)]).toEqual([])
    await fleet.stop()
  })

  test('[FLEET-29] cannot fail a live node with a friend that pretends the same, where there are links to it', async () => {
    const fleet = await WatchFleet.started(2, 10)
    const attackers = [await hostile(fleet, 90), await hostile(fleet, 91)] as const
    const words = attackers[0].wordsOf(await restart(fleet, 3))
    const sinceMs = fleet.clock.monotonic()
    for (const { keyPair, say } of attackers) say(encodeMessage(makeAccusation(keyPair, words, true)))
    await fleet.clock.advance(20_000)
    expect(fleet.allAlive()).toBe(true)
    expect([...fleet.everFailed(sinceMs)]).toEqual([])
    await fleet.stop()
  })

  test('[FLEET-28] an old accusation that is played again changes nothing', async () => {
    const fleet = await WatchFleet.started(3, 10)
    const attacker = await hostile(fleet, 90)
    fleet.freeze(fleet.node(3))
    await fleet.clock.advance(10_000)
    fleet.thaw(fleet.node(3), 'sockets')
    await fleet.clock.advance(150_000)
    const recorded = [...attacker.heard]
    const sinceMs = fleet.clock.monotonic()
    expect(recorded.length).toBeGreaterThan(2)
    for (const bytes of recorded) attacker.say(bytes)
    await fleet.clock.advance(20_000)
    expect(fleet.nodes.flatMap(({ seen }) => seen.filter(({ atMs }) => atMs > sinceMs))).toEqual([])
    await fleet.stop()
  })
})

describe('a stream', () => {
  const options = { maxFrameBytes: maxWatchFrameBytes }

  test('[FLEET-30] that brings a malformed frame is ended, and nothing else happens', async () => {
    const fleet = await WatchFleet.started(4, 5)
    const attacker = await hostile(fleet, 90)
    const sinceMs = fleet.clock.monotonic()
    const forged = { ...makeStatement(attacker.keyPair, 'left', { epoch: 2 ** 50, seq: 0 }), nodeId: fleet.node(1).id }
    const frames = [
      Uint8Array.of(1, 2, 3),
      encode([1, 2]),
      encode([9]),
      encode([3, 1, 'nobody']),
      encode([6, new Uint8Array(100)]),
      encodeFrame({ type: 'news', messages: [encodeMessage(forged)] })
    ]
    for (const frame of frames) {
      const channel = await fleet.clock.run(attacker.network.open(fleet.node(0).id, '/murmurate/watch/1', options))
      await channel.send([frame])
      await expect(fleet.clock.run(readAll(channel))).rejects.toThrow()
    }
    expect(fleet.nodes.flatMap(({ seen }) => seen.filter(({ atMs }) => atMs > sinceMs))).toEqual([])
    expect(fleet.allAlive()).toBe(true)
    await fleet.stop()
  })
})

async function readAll(channel: Channel): Promise<void> {
  for await (const frame of channel.frames()) void frame
}

describe('the life of a node', () => {
  test('[FLEET-25] what is not heard of since the start is unknown, this node itself is alive, and after a stop all is unknown', async () => {
    const fleet = await WatchFleet.started(5, 3)
    const { watch, id } = fleet.node(0)
    expect([watch.stateOf(id), watch.stateOf((await keyPairOf(70)).nodeId)]).toEqual(['alive', 'unknown'])
    watch.stop()
    watch.stop()
    expect(watch.stateOf(fleet.node(1).id)).toBe('unknown')
    watch.start()
    expect(await fleet.timeUntil(() => fleet.allAlive(), 30_000)).toBeDefined()
    await fleet.stop()
  })

  test('[FLEET-31] who joins late learns who has failed and who has left', async () => {
    const fleet = await WatchFleet.started(6, 12, { maxLinks: 4 })
    const [failed, left] = [fleet.node(2), fleet.node(5)]
    fleet.kill(failed)
    await fleet.leave(left)
    await fleet.clock.advance(200_000)
    const late = await fleet.start(40)
    const tookMs = await fleet.timeUntil(
      () => late.watch.stateOf(failed.id) === 'failed' && late.watch.stateOf(left.id) === 'left',
      30_000
    )
    expect(tookMs).toBeLessThanOrEqual(15_000)
    expect(late.watch.offlineSince(failed.id)).toBeDefined()
    expect(fleet.nodes.filter(({ id }) => late.watch.stateOf(id) !== 'alive')).toEqual([])
    await fleet.stop()
  })

  test('[FLEET-31] what gossip lost comes by comparing rosters', async () => {
    const fleet = await WatchFleet.started(7, 12, { maxLinks: 4, gossipLoss: 1 })
    await fleet.leave(fleet.node(3))
    const { nodeId } = await keyPairOf(3)
    expect(await fleet.timeUntil(() => fleet.allSee(nodeId, 'left'), 60_000)).toBeDefined()
    await fleet.stop()
  })
})
