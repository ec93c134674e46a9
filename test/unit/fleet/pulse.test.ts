import { expect, test } from 'vitest'
import { encode } from '../../../src/core/codec.js'
import { silentLogger } from '../../../src/core/logger.js'
import { Pulses, type ObservedProgress, type Progress, type PulsesInit } from '../../../src/fleet/pulse.js'
import type { KeyPair } from '../../../src/identity/keypair.js'
import { sign } from '../../../src/identity/signature.js'
import { MemoryHub, MemoryNetwork } from '../../../src/net/memory-network.js'
import type { GossipVerdict, Network } from '../../../src/net/network.js'
import { virtualEnvironment, type VirtualClock } from '../../support/virtual-clock.js'
import { keyPairOf } from '../record/fixtures.js'

const init = { topic: 'pulse', interestMs: 30_000, progressPeriodMs: 250, progressTtlMs: 15_000 }
const progress = (haveBytes: number, subject = 'm@1.0.0'): Progress => ({ subject, haveBytes, totalBytes: 1000 })

interface Box {
  readonly keyPair: KeyPair
  readonly network: Network
  readonly pulses: Pulses
  /** Messages that this node sent. */
  sent: number
}

class Mesh {
  readonly environment = virtualEnvironment(1)
  readonly #hub = new MemoryHub({ environment: this.environment })

  get clock(): VirtualClock {
    return this.environment.clock
  }

  async box(number: number): Promise<Box> {
    const keyPair = await keyPairOf(number)
    const network = new MemoryNetwork({ nodeId: keyPair.nodeId, hub: this.#hub })
    const publish = network.publish.bind(network)
    const pulses = new Pulses({ network, keyPair, environment: this.environment, logger: silentLogger }, init)
    const box = { keyPair, network, pulses, sent: 0 }
    network.publish = (topic, data) => {
      box.sent += 1
      return publish(topic, data)
    }
    network.start()
    pulses.start()
    await this.clock.advance(200)
    return box
  }
}

/** A node that hears a topic without pulses of its own: what it is handed, and what it is told to do with forgeries. */
class Ear {
  handler: ((data: Uint8Array) => GossipVerdict) | undefined
  readonly pulses: Pulses
  readonly keyPair: KeyPair

  private constructor(keyPair: KeyPair, environment: Mesh['environment'], parts: Partial<PulsesInit>) {
    this.keyPair = keyPair
    const network: Pick<Network, 'nodeId' | 'subscribe' | 'publish' | 'onPeer'> = {
      nodeId: keyPair.nodeId,
      onPeer: () => () => {},
      subscribe: (_topic, handler) => {
        this.handler = (data) => handler({ sender: keyPair.nodeId, data })
        return () => {}
      },
      publish: () => Promise.resolve(0)
    }
    // Pulses use nothing else of a network.
    this.pulses = new Pulses(
      { network: network as Network, keyPair, environment, logger: silentLogger },
      { ...init, ...parts }
    )
    this.pulses.start()
  }

  static async create(environment = virtualEnvironment(1), parts: Partial<PulsesInit> = {}): Promise<Ear> {
    return new Ear(await keyPairOf(0), environment, parts)
  }

  hear(
    keyPair: KeyPair,
    sequence: number,
    body: unknown,
    parts: { writer?: unknown; signature?: Uint8Array } = {}
  ): GossipVerdict | undefined {
    const writer = parts.writer ?? keyPair.nodeId
    const bytes = encode(body)
    const signature = parts.signature ?? sign(keyPair, 'murmurate/pulse/1', encode([keyPair.nodeId, sequence, bytes]))
    return this.handler?.(encode([writer, sequence, bytes, signature]))
  }
}

test('[FLEET-5] progress is heard by whoever watches, with a rate', async () => {
  const mesh = new Mesh()
  const [worker, watcher] = [await mesh.box(1), await mesh.box(2)]
  const heard: ObservedProgress[] = []
  watcher.pulses.watch((each) => heard.push(each))
  await mesh.clock.advance(100)
  for (let have = 0; have <= 1000; have += 100) {
    worker.pulses.report(progress(have))
    await mesh.clock.advance(1000)
  }
  expect(heard.map(({ haveBytes }) => haveBytes)).toEqual([0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000])
  expect(heard[0]?.bytesPerSecond).toBeUndefined()
  expect(heard[8]?.bytesPerSecond).toBeGreaterThan(95)
  expect(heard[8]?.bytesPerSecond).toBeLessThan(105)
  expect(watcher.pulses.progress().size).toBe(0)
})

test('[FLEET-6] while nobody watches, nothing is sent', async () => {
  const mesh = new Mesh()
  const [worker, other] = [await mesh.box(1), await mesh.box(2)]
  for (let have = 0; have <= 1000; have += 100) {
    worker.pulses.report(progress(have))
    await mesh.clock.advance(1000)
  }
  expect([worker.sent, other.sent]).toEqual([0, 0])
})

test('[FLEET-6] when the last watcher goes, sending ends after the time of an interest; also at a node that watched itself', async () => {
  const mesh = new Mesh()
  const [worker, watcher] = [await mesh.box(1), await mesh.box(2)]
  const [stop, stopOwn] = [watcher.pulses.watch(() => {}), worker.pulses.watch(() => {})]
  await mesh.clock.advance(60_000)
  worker.pulses.report(progress(100))
  stopOwn()
  stop()
  stop()
  await mesh.clock.advance(init.interestMs + 1000)
  const before = [worker.sent, watcher.sent]
  worker.pulses.report(progress(200))
  await mesh.clock.advance(60_000)
  worker.pulses.report(progress(1000))
  expect([worker.sent, watcher.sent]).toEqual(before)
})

test('[FLEET-6] whoever watched before the start, or over a restart, is served', async () => {
  const mesh = new Mesh()
  const [worker, watcher] = [await mesh.box(1), await mesh.box(2)]
  watcher.pulses.stop()
  worker.pulses.stop()
  const heard: ObservedProgress[] = []
  watcher.pulses.watch((each) => heard.push(each))
  await mesh.clock.advance(60_000)
  expect(watcher.sent).toBe(0)
  worker.pulses.start()
  watcher.pulses.start()
  await mesh.clock.advance(100)
  worker.pulses.report(progress(100))
  await mesh.clock.advance(100)
  expect(heard).toHaveLength(1)
  watcher.pulses.stop()
  watcher.pulses.stop()
  worker.pulses.stop()
  await mesh.clock.advance(120_000)
  expect(mesh.clock.pending).toBe(0)
})

test('[FLEET-6] a node that links up later is told of the interest at once, however many link at a time', async () => {
  const mesh = new Mesh()
  const watcher = await mesh.box(1)
  const heard: ObservedProgress[] = []
  watcher.pulses.watch((each) => heard.push(each))
  await mesh.clock.advance(1000)
  const before = watcher.sent
  const others = await Promise.all([mesh.box(2), mesh.box(3), mesh.box(4)])
  await mesh.clock.advance(300)
  expect(watcher.sent).toBe(before + 1)
  for (const { pulses } of others) pulses.report(progress(100))
  await mesh.clock.advance(100)
  expect(heard).toHaveLength(3)
})

test('[FLEET-5] a node sends at most one pulse a period, but the end at once and once', async () => {
  const mesh = new Mesh()
  const [worker, watcher] = [await mesh.box(1), await mesh.box(2)]
  watcher.pulses.watch(() => {})
  await mesh.clock.advance(100)
  for (let have = 0; have < 1000; have++) {
    worker.pulses.report(progress(have))
    await mesh.clock.advance(10)
  }
  // Ten seconds, a pulse each half second: two senders' share of two a second is one, and the worker alone is one sender.
  expect(worker.sent).toBeGreaterThanOrEqual(19)
  expect(worker.sent).toBeLessThanOrEqual(21)
  const before = worker.sent
  for (let again = 0; again < 50; again++) worker.pulses.report(progress(1000))
  expect(worker.sent).toBe(before + 1)
})

test('[FLEET-5] with many senders each sends seldom, but often enough not to be forgotten', async () => {
  const mesh = new Mesh()
  const [worker, other] = [await mesh.box(1), await mesh.box(2)]
  other.pulses.watch(() => {})
  const crowd = await Promise.all(Array.from({ length: 100 }, (_, index) => keyPairOf(index + 3)))
  const pulseOf = (keyPair: KeyPair, second: number): Uint8Array => {
    const bytes = encode({ type: 'progress', ...progress(second) })
    const signature = sign(keyPair, 'murmurate/pulse/1', encode([keyPair.nodeId, second, bytes]))
    return encode([keyPair.nodeId, second, bytes, signature])
  }
  await mesh.clock.advance(100)
  for (let second = 0; second < 30; second++) {
    if (second % 5 === 0) for (const keyPair of crowd) await other.network.publish('pulse', pulseOf(keyPair, second))
    await mesh.clock.advance(1000)
    worker.pulses.report(progress(second))
  }
  expect(worker.pulses.progress().size).toBe(101)
  // A hundred at two a second would be one in 50 seconds; a third of the time after which progress is forgotten is 5.
  expect(worker.sent).toBeGreaterThanOrEqual(6)
  expect(worker.sent).toBeLessThanOrEqual(8)
})

test('[FLEET-7] a forged pulse is refused and changes nothing', async () => {
  const ear = await Ear.create()
  const [honest, liar] = [await keyPairOf(1), await keyPairOf(2)]
  const body = { type: 'progress', ...progress(10) }
  expect(ear.hear(liar, 5, body, { writer: honest.nodeId })).toBe('reject')
  expect(ear.hear(honest, 5, body, { signature: new Uint8Array(64) })).toBe('reject')
  expect(ear.pulses.progress().size).toBe(0)
  // The forgery with a high number has not shut the honest one out.
  expect(ear.hear(liar, 1e15, body, { writer: honest.nodeId })).toBe('reject')
  expect(ear.hear(honest, 1, body)).toBe('accept')
})

test('[FLEET-7] a replayed or late pulse is ignored, and so is what this node sent itself', async () => {
  const ear = await Ear.create()
  const one = await keyPairOf(1)
  expect(ear.hear(one, 5, { type: 'progress', ...progress(50) })).toBe('accept')
  expect(ear.hear(one, 5, { type: 'progress', ...progress(50) })).toBe('ignore')
  expect(ear.hear(one, 4, { type: 'progress', ...progress(40) })).toBe('ignore')
  expect(ear.pulses.progress().get(one.nodeId)?.haveBytes).toBe(50)
  expect(ear.hear(ear.keyPair, 9, { type: 'progress', ...progress(90) })).toBe('ignore')
  expect(ear.pulses.progress().has(ear.keyPair.nodeId)).toBe(false)
})

test('[FLEET-7] what is not a pulse is refused', async () => {
  const ear = await Ear.create()
  const one = await keyPairOf(1)
  expect(ear.handler?.(new Uint8Array(0))).toBe('reject')
  expect(ear.handler?.(new Uint8Array(5000))).toBe('reject')
  expect(ear.handler?.(encode({ pulse: 'no' }))).toBe('reject')
  expect(ear.hear(one, 1, { type: 'unheard of' })).toBe('reject')
  expect(ear.hear(one, 2, { type: 'progress', subject: 'x'.repeat(300), haveBytes: 1, totalBytes: 2 })).toBe('reject')
  expect(ear.hear(one, 3, { type: 'progress', subject: 'x', haveBytes: -1, totalBytes: 2 })).toBe('reject')
  expect(ear.hear(one, 4, { type: 'progress', ...progress(1) }, { writer: 'nobody' })).toBe('reject')
})

test('[FLEET-7] a listener that throws is not held against the peer that sent the pulse', async () => {
  const ear = await Ear.create()
  ear.pulses.watch(() => {
    throw new Error('my own mistake')
  })
  expect(ear.hear(await keyPairOf(1), 1, { type: 'progress', ...progress(50) })).toBe('accept')
})

test('[FLEET-7] whoever makes up keys cannot fill the memory: those that were silent longest are forgotten', async () => {
  const ear = await Ear.create(virtualEnvironment(1), { maxWriters: 10 })
  const keyPairs = await Promise.all(Array.from({ length: 30 }, (_, index) => keyPairOf(index + 1)))
  const [honest, ...others] = keyPairs
  if (honest === undefined) throw new Error('no key')
  for (const [index, keyPair] of others.entries()) {
    expect(ear.hear(keyPair, 1, { type: 'progress', ...progress(1) })).toBe('accept')
    if (index % 5 === 0) ear.hear(honest, index, { type: 'progress', ...progress(index) })
    expect(ear.pulses.progress().size).toBeLessThanOrEqual(10)
  }
  expect(ear.pulses.progress().size).toBe(10)
  expect(ear.pulses.progress().get(honest.nodeId)?.haveBytes).toBe(25)
  // The guard against replays is as large: what it still remembers stays ignored.
  expect(ear.hear(honest, 25, { type: 'progress', ...progress(1) })).toBe('ignore')
  expect(ear.hear(others[0] ?? honest, 1, { type: 'progress', ...progress(1) })).toBe('accept')
})

test('[FLEET-5] progress that is not renewed is forgotten', async () => {
  const environment = virtualEnvironment(1)
  const ear = await Ear.create(environment)
  ear.hear(await keyPairOf(1), 1, { type: 'progress', ...progress(50) })
  await environment.clock.advance(init.progressTtlMs - 1)
  expect(ear.pulses.progress().size).toBe(1)
  await environment.clock.advance(2)
  expect(ear.pulses.progress().size).toBe(0)
})
