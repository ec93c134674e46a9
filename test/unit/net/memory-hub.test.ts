import { describe, expect, test } from 'vitest'
import { every } from '../../../src/core/environment.js'
import { errorCode } from '../../../src/core/errors.js'
import type { NodeId } from '../../../src/core/ids.js'
import { nodeIdOf } from '../../../src/identity/node-id.js'
import { MemoryHub, MemoryNetwork } from '../../../src/net/memory-network.js'
import type { MemoryHubInit } from '../../../src/net/memory-air.js'
import { virtualEnvironment } from '../../support/virtual-clock.js'

const idOf = (number: number): NodeId => {
  const key = new Uint8Array(32)
  new DataView(key.buffer).setUint32(0, number)
  return nodeIdOf(key)
}

/** Nodes of one hub, and a log of all that they hear. */
function world(seed: number, count: number, init: Omit<MemoryHubInit, 'environment'> = {}) {
  const environment = virtualEnvironment(seed)
  const hub = new MemoryHub({ environment, ...init })
  const log: string[] = []
  const nodes = Array.from({ length: count }, (_, index) => new MemoryNetwork({ nodeId: idOf(index), hub }))
  for (const [index, node] of nodes.entries()) {
    node.onPeer(({ type, peer }) => log.push(`${environment.clock.monotonic().toFixed(3)} ${index} ${type} ${peer}`))
    node.subscribe('news', ({ data }) => {
      log.push(`${environment.clock.monotonic().toFixed(3)} ${index} heard ${Buffer.from(data).toString()}`)
      return 'accept'
    })
    node.start()
  }
  const heard = (text: string): number => log.filter((line) => line.endsWith(`heard ${text}`)).length
  return { environment, clock: environment.clock, hub, nodes, log, heard, id: (index: number) => idOf(index) }
}

const publish = (node: MemoryNetwork | undefined, text: string): Promise<number> | undefined =>
  node?.publish('news', Buffer.from(text))

describe('the memory hub', () => {
  test('the same seed gives the same run, another seed another one', async () => {
    const runOf = async (seed: number): Promise<string[]> => {
      const { clock, nodes, log, environment, hub, id } = world(seed, 12, { maxLinks: 3, gossipLoss: 0.2 })
      let count = 0
      every(environment, 100, async () => void (await publish(nodes[count % 12], `message ${count++}`)))
      await clock.advance(1000)
      hub.isolate(id(3))
      await clock.advance(1000)
      hub.heal(id(3))
      await clock.advance(1000)
      return log
    }
    const first = await runOf(7)
    expect(first.length).toBeGreaterThan(100)
    expect(await runOf(7)).toEqual(first)
    expect(await runOf(8)).not.toEqual(first)
  })

  test('nodes link up by themselves, up to maxLinks of their own making, and all can hear each other', async () => {
    const { clock, nodes, heard } = world(1, 100, { maxLinks: 4 })
    await clock.advance(100)
    const degrees = nodes.map((node) => node.peers().length)
    expect(Math.min(...degrees)).toBeGreaterThanOrEqual(4)
    await publish(nodes[0], 'hello')
    await clock.advance(200)
    expect(heard('hello')).toBe(99)
  })

  test('a cut cable parts two nodes, and healing links them again', async () => {
    const { clock, hub, nodes, id, log } = world(2, 2)
    await clock.advance(10)
    hub.cut(id(0), id(1))
    await publish(nodes[0], 'lost')
    await clock.advance(10_000)
    expect(nodes.map((node) => node.peers().length)).toEqual([0, 0])
    const dialling = nodes[0]?.dial(nodes[1]?.addresses()[0] ?? '').catch(errorCode)
    await clock.advance(10)
    expect(await dialling).toBe('NETWORK_ERROR')
    hub.heal(id(0), id(1))
    await clock.advance(1000)
    expect(nodes.map((node) => node.peers().length)).toEqual([1, 1])
    expect(log.some((line) => line.includes('lost'))).toBe(false)
  })

  test('an isolated node is alone until it is healed', async () => {
    const { clock, hub, nodes, id } = world(3, 5)
    await clock.advance(10)
    hub.isolate(id(2))
    await clock.advance(1000)
    expect(nodes.map((node) => node.peers().length)).toEqual([3, 3, 0, 3, 3])
    hub.heal(id(2))
    await clock.advance(1000)
    expect(nodes.map((node) => node.peers().length)).toEqual([4, 4, 4, 4, 4])
  })

  test('[SIM-8] a mesh in parts has no link between them, and has again after the heal though each part filled up', async () => {
    const { clock, hub, nodes, id, heard } = world(9, 60, { maxLinks: 3 })
    await clock.advance(100)
    const parts = [0, 1, 2].map((part) => nodes.flatMap((_, index) => (index % 3 === part ? [id(index)] : [])))
    const isSplit = (): boolean =>
      nodes.every((node, index) => node.peers().every((peer) => parts[index % 3]?.includes(peer)))
    hub.partition(parts)
    await clock.advance(10_000)
    expect(isSplit()).toBe(true)
    expect(Math.min(...nodes.map((node) => node.peers().length))).toBeGreaterThanOrEqual(3)
    await publish(nodes[0], 'one part')
    await clock.advance(1000)
    hub.healAll()
    await clock.advance(1000)
    await publish(nodes[0], 'all')
    await clock.advance(1000)
    expect([heard('one part'), heard('all')]).toEqual([19, 59])
  })

  test('a message goes to as many neighbours as the hub allows, and still gets around', async () => {
    const { clock, hub, nodes, heard } = world(10, 30, { gossipDegree: 4 })
    await clock.advance(100)
    await publish(nodes[0], 'news')
    await clock.advance(1000)
    expect(hub.carried).toBeLessThanOrEqual(4 * 30)
    expect(heard('news')).toBeGreaterThan(20)
  })

  test('a cable that is cut and healed at once still breaks the link, so that no channel has a hole', async () => {
    const { clock, hub, nodes, id } = world(4, 2)
    await clock.advance(10)
    nodes[1]?.serve('/hold/1', () => new Promise(() => {}), { maxFrameBytes: 10 })
    const opening = nodes[0]?.open(id(1), '/hold/1', { maxFrameBytes: 10 })
    await clock.advance(10)
    const channel = await opening
    hub.cut(id(0), id(1))
    hub.heal(id(0), id(1))
    await clock.advance(10)
    const code = await channel?.send([]).catch(errorCode)
    expect(code).toBe('NETWORK_ERROR')
    await clock.advance(1000)
    expect(nodes.map((node) => node.peers().length)).toEqual([1, 1])
  })

  test('once the cable is cut nothing passes, even before it is noticed', async () => {
    const { clock, hub, nodes, id, log } = world(4, 2, { latencyMs: [1, 100] })
    await clock.advance(200)
    const received: Uint8Array[] = []
    const read = async (channel: { frames(): AsyncIterable<Uint8Array> }): Promise<void> => {
      for await (const frame of channel.frames()) received.push(frame)
    }
    nodes[1]?.serve('/read/1', read, { maxFrameBytes: 10 })
    const opening = nodes[0]?.open(id(1), '/read/1', { maxFrameBytes: 10 })
    await clock.advance(200)
    const channel = await opening
    hub.cut(id(0), id(1))
    for (let count = 0; count < 50; count++) void channel?.send([Uint8Array.of(count)]).catch(() => {})
    for (let count = 0; count < 50; count++) void publish(nodes[0], `late ${count}`)
    await clock.advance(1000)
    expect([received.length, log.filter((line) => line.includes('late')).length]).toEqual([0, 0])
  })

  test('gossip is lost and doubled as told', async () => {
    const { clock, nodes, heard } = world(5, 2, { gossipLoss: 0.25, gossipDuplication: 0.5 })
    await clock.advance(10)
    let once = 0
    let twice = 0
    for (let count = 0; count < 1000; count++) {
      await publish(nodes[0], `message ${count}`)
      await clock.advance(20)
      if (heard(`message ${count}`) >= 1) once++
      if (heard(`message ${count}`) === 2) twice++
    }
    expect(Math.abs(once / 1000 - 0.75)).toBeLessThan(0.05)
    expect(Math.abs(twice / once - 0.5)).toBeLessThan(0.05)
  })

  test('frames stay in order although each takes another time', async () => {
    const { clock, nodes, id } = world(6, 2, { latencyMs: [1, 200] })
    await clock.advance(1000)
    const received: number[] = []
    const read = async (channel: { frames(): AsyncIterable<Uint8Array> }): Promise<void> => {
      for await (const frame of channel.frames()) received.push(frame[0] ?? -1)
    }
    nodes[1]?.serve('/count/1', read, { maxFrameBytes: 10 })
    const opening = nodes[0]?.open(id(1), '/count/1', { maxFrameBytes: 10 })
    await clock.advance(1000)
    const channel = await opening
    for (let count = 0; count < 200; count++) await channel?.send([Uint8Array.of(count)])
    await clock.advance(10_000)
    expect(received).toEqual(Array.from({ length: 200 }, (_, index) => index))
  })

  test('the same bytes are news again after two minutes, as with gossipsub', async () => {
    const { clock, nodes, heard } = world(7, 2)
    await clock.advance(10)
    for (const waitMs of [10, 60_000, 61_000]) {
      await publish(nodes[0], 'again')
      await clock.advance(waitMs)
    }
    await publish(nodes[0], 'again')
    await clock.advance(10)
    expect(heard('again')).toBe(2)
  })

  test('a thousand nodes start, gossip and stop in a few seconds of real time', async () => {
    const started = process.cpuUsage()
    const { clock, nodes, heard } = world(8, 1000, { maxLinks: 6 })
    await clock.advance(1000)
    for (let count = 0; count < 5; count++) {
      await publish(nodes[count * 100], `message ${count}`)
      await clock.advance(1000)
      expect(heard(`message ${count}`)).toBe(999)
    }
    for (const node of nodes) node.stop()
    await clock.advance(1000)
    const { user, system } = process.cpuUsage(started)
    expect((user + system) / 1e6).toBeLessThan(10)
  })

  test('what is sent into a silent cut comes after the heal, and the link goes down when it lasts', async () => {
    const { clock, hub, nodes, heard, id, log } = world(3, 2)
    await clock.advance(100)
    hub.mute(id(0), id(1))
    void publish(nodes[0], 'held up')
    void publish(nodes[1], 'the other way')
    await clock.advance(1_000)
    expect([heard('held up'), heard('the other way')]).toEqual([0, 1])
    expect(await clock.run(nodes[0]?.probe(id(1)) ?? Promise.reject(new Error('no node')))).toBe('silent')
    hub.unmute(id(0), id(1))
    await clock.advance(100)
    expect(heard('held up')).toBe(1)
    hub.mute(id(0), id(1))
    await clock.advance(45_000)
    expect(nodes.map((node) => node.peers().length)).toEqual([0, 0])
    hub.unmute(id(0), id(1))
    await clock.advance(1_000)
    expect(nodes.map((node) => node.peers().length)).toEqual([1, 1])
    expect(log.filter((line) => line.includes('disconnected'))).toHaveLength(2)
  })

  test('a frozen node keeps its links and its port, and finds what came when it goes on', async () => {
    const { clock, hub, nodes, heard, id } = world(3, 3)
    await clock.advance(100)
    hub.freeze(id(1))
    void publish(nodes[0], 'wake up')
    await clock.advance(5_000)
    expect(heard('wake up')).toBe(1)
    expect(nodes[0]?.peers()).toHaveLength(2)
    expect(await clock.run(nodes[0]?.probe(id(1)) ?? Promise.reject(new Error('no node')))).toBe('answers')
    hub.thaw(id(1))
    await clock.advance(100)
    expect(heard('wake up')).toBe(2)
  })

  test('lost packets of a channel come late, in order and all', async () => {
    const { clock, nodes, id } = world(5, 2, { channelLoss: 0.5 })
    await clock.advance(100)
    const received: number[] = []
    nodes[1]?.serve(
      '/count/1',
      async (channel) => {
        for await (const frame of channel.frames()) received.push(frame[0] ?? -1)
      },
      { maxFrameBytes: 16 }
    )
    const channel = await clock.run(
      nodes[0]?.open(id(1), '/count/1', { maxFrameBytes: 16 }) ?? Promise.reject(new Error('no node'))
    )
    for (let count = 0; count < 20; count++) await channel.send([Uint8Array.of(count)])
    await clock.advance(190)
    expect(received.length).toBeLessThan(20)
    await clock.advance(60_000)
    expect(received).toEqual(Array.from({ length: 20 }, (_, count) => count))
  })
})
