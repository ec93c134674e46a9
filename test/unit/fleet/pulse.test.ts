import { expect, test } from 'vitest'
import { encode } from '../../../src/core/codec.js'
import { silentLogger } from '../../../src/core/logger.js'
import { Pulses, type ObservedProgress, type Progress, type PulsesInit } from '../../../src/fleet/pulse.js'
import type { NodeId } from '../../../src/core/ids.js'
import type { Load, ObservedLoad } from '../../../src/fleet/load.js'
import type { Member } from '../../../src/fleet/membership.js'
import { openAuthority } from '../../../src/identity/authority.js'
import type { KeyPair } from '../../../src/identity/keypair.js'
import { sign } from '../../../src/identity/signature.js'
import { MemoryHub, MemoryNetwork } from '../../../src/net/memory-network.js'
import type { GossipVerdict, Network } from '../../../src/net/network.js'
import { virtualEnvironment, type VirtualClock } from '../../support/virtual-clock.js'
import { keyPairOf } from '../record/fixtures.js'

const init = { topic: 'pulse', interestMs: 30_000, progressPeriodMs: 250, progressTtlMs: 15_000 }
const progress = (haveBytes: number, subject = 'm@1.0.0'): Progress => ({ subject, haveBytes, totalBytes: 1000 })

const idle: Load = { cpuPercent: 3, memoryMb: 90, eventLoopMs: 1, transfers: 0 }

/** What membership knows of the runs of nodes: `epochs` stands for the shared document. */
class Runs {
  readonly #epochs: Map<NodeId, number>
  readonly #self: NodeId
  #epoch: number | undefined
  /** Whether this node can write. */
  isWritable = true
  announced = 0

  constructor(epochs: Map<NodeId, number>, self: NodeId) {
    this.#epochs = epochs
    this.#self = self
  }

  announce(): Promise<number | undefined> {
    if (!this.isWritable) return Promise.resolve(undefined)
    if (this.#epoch === undefined) {
      this.#epoch = (this.#epochs.get(this.#self) ?? 0) + 1
      this.#epochs.set(this.#self, this.#epoch)
      this.announced += 1
    }
    return Promise.resolve(this.#epoch)
  }

  epochOf(nodeId: NodeId): number | undefined {
    return this.#epochs.get(nodeId)
  }

  members(): readonly Member[] {
    // Only their number is asked for.
    return Array.from(this.#epochs, ([nodeId]) => ({ nodeId }) as Member)
  }
}

interface Box {
  readonly keyPair: KeyPair
  readonly network: Network
  readonly pulses: Pulses
  readonly runs: Runs
  /** How busy it is. */
  load: Load
  /** Messages that this node sent. */
  sent: number
}

class Mesh {
  readonly environment = virtualEnvironment(1)
  readonly epochs = new Map<NodeId, number>()
  readonly #hub = new MemoryHub({ environment: this.environment })

  get clock(): VirtualClock {
    return this.environment.clock
  }

  async box(number: number): Promise<Box> {
    const keyPair = await keyPairOf(number)
    const network = new MemoryNetwork({ nodeId: keyPair.nodeId, hub: this.#hub })
    const publish = network.publish.bind(network)
    const { environment } = this
    const runs = new Runs(this.epochs, keyPair.nodeId)
    const readLoad = (): Load => box.load
    const components = { network, keyPair, membership: runs, environment, logger: silentLogger, readLoad }
    const pulses = new Pulses(components, init)
    const box = { keyPair, network, pulses, runs, sent: 0, load: idle }
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
  readonly epochs = new Map<NodeId, number>()
  readonly revoked = new Set<NodeId>()

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
      {
        network: network as Network,
        keyPair,
        membership: new Runs(this.epochs, keyPair.nodeId),
        authority: { ...openAuthority, isMember: (id) => !this.revoked.has(id) },
        environment,
        logger: silentLogger,
        readLoad: () => idle
      },
      { ...init, ...parts }
    )
    this.pulses.start()
  }

  static async create(environment = virtualEnvironment(1), parts: Partial<PulsesInit> = {}): Promise<Ear> {
    return new Ear(await keyPairOf(0), environment, parts)
  }

  hear(
    keyPair: KeyPair,
    counter: number,
    body: unknown,
    parts: { writer?: unknown; signature?: Uint8Array; epoch?: number } = {}
  ): GossipVerdict | undefined {
    const writer = parts.writer ?? keyPair.nodeId
    const bytes = encode(body)
    const epoch = parts.epoch ?? 1
    const signed = encode([keyPair.nodeId, epoch, counter, bytes])
    const signature = parts.signature ?? sign(keyPair, 'murmurate/pulse/1', signed)
    return this.handler?.(encode([writer, epoch, counter, bytes, signature]))
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
  await mesh.clock.settle()
  expect(worker.sent).toBe(before + 1)
})

test('[FLEET-5] with many senders each sends seldom, but often enough not to be forgotten', async () => {
  const mesh = new Mesh()
  const [worker, other] = [await mesh.box(1), await mesh.box(2)]
  other.pulses.watch(() => {})
  const crowd = await Promise.all(Array.from({ length: 100 }, (_, index) => keyPairOf(index + 3)))
  const pulseOf = (keyPair: KeyPair, second: number): Uint8Array => {
    const bytes = encode({ type: 'progress', ...progress(second) })
    const signature = sign(keyPair, 'murmurate/pulse/1', encode([keyPair.nodeId, 1, second, bytes]))
    return encode([keyPair.nodeId, 1, second, bytes, signature])
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
  expect(ear.hear(one, 5, { type: 'interest' })).toBe('reject')
  expect(ear.hear(one, 6, { type: 'interest', topic: 'secrets' })).toBe('reject')
  expect(ear.hear(one, 7, { type: 'load', ...idle, cpuPercent: 101 })).toBe('reject')
  expect(ear.hear(one, 8, { type: 'load', ...idle, memoryMb: -1 })).toBe('reject')
  expect(ear.hear(one, 9, { type: 'load', ...idle, transfers: 0.5 })).toBe('reject')
  expect(ear.hear(one, 10, { type: 'progress', ...progress(1) }, { epoch: -1 })).toBe('reject')
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

test('[FLEET-47] what was recorded in an earlier run of a node is not heard again, nor what a receiver heard before it restarted', async () => {
  const ear = await Ear.create()
  const one = await keyPairOf(1)
  const pulse = (haveBytes: number): unknown => ({ type: 'progress', ...progress(haveBytes) })
  expect(ear.hear(one, 900, pulse(90), { epoch: 5 })).toBe('accept')
  // A new run counts from the beginning again, whatever its clock says, and is heard.
  expect(ear.hear(one, 1, pulse(10), { epoch: 7 })).toBe('accept')
  expect(ear.hear(one, 901, pulse(91), { epoch: 5 })).toBe('ignore')
  expect(ear.pulses.progress().get(one.nodeId)?.haveBytes).toBe(10)
  // Who has just started knows the epoch of the run from the document.
  const fresh = await Ear.create()
  fresh.epochs.set(one.nodeId, 7)
  expect(fresh.hear(one, 901, pulse(91), { epoch: 5 })).toBe('ignore')
  expect(fresh.pulses.progress().size).toBe(0)
  expect(fresh.hear(one, 2, pulse(20), { epoch: 7 })).toBe('accept')
  // The news of a still newer run may be slower than its first pulse.
  expect(fresh.hear(one, 1, pulse(1), { epoch: 8 })).toBe('accept')
  expect(fresh.hear(one, 3, pulse(30), { epoch: 7 })).toBe('ignore')
})

test('[FLEET-47] a recorded interest does not make nodes send', async () => {
  const ear = await Ear.create()
  const one = await keyPairOf(1)
  expect(ear.hear(one, 5, { type: 'interest', topic: 'load' }, { epoch: 3 })).toBe('accept')
  expect(ear.hear(one, 5, { type: 'interest', topic: 'load' }, { epoch: 3 })).toBe('ignore')
  ear.epochs.set(one.nodeId, 4)
  expect(ear.hear(one, 6, { type: 'interest', topic: 'load' }, { epoch: 3 })).toBe('ignore')
})

test('[FLEET-47] a node is heard after its clock was set back, and after each restart', async () => {
  const mesh = new Mesh()
  const watcher = await mesh.box(1)
  const heard: number[] = []
  watcher.pulses.watch(({ haveBytes }) => heard.push(haveBytes))
  const wall = mesh.clock.now.bind(mesh.clock)
  for (let run = 0; run < 4; run++) {
    mesh.clock.now = () => wall() - run * 365 * 86_400_000
    const worker = await mesh.box(2)
    await mesh.clock.advance(1000)
    worker.pulses.report(progress(100 + run))
    await mesh.clock.advance(1000)
    expect(worker.runs.announced).toBe(1)
    worker.pulses.stop()
    await worker.network.stop()
  }
  expect(heard).toEqual([100, 101, 102, 103])
})

test('[FLEET-6] a node that has nothing to send, or cannot write, announces nothing', async () => {
  const mesh = new Mesh()
  const [worker, watcher] = [await mesh.box(1), await mesh.box(2)]
  worker.pulses.report(progress(100))
  await mesh.clock.advance(1000)
  expect([worker.runs.announced, worker.sent]).toEqual([0, 0])
  watcher.runs.isWritable = false
  watcher.pulses.watch(() => {})
  await mesh.clock.advance(60_000)
  expect(watcher.sent).toBe(0)
  watcher.runs.isWritable = true
  await mesh.clock.advance(15_000)
  expect(watcher.sent).toBeGreaterThan(0)
})

test('[FLEET-48] loads are told while somebody watches loads, and only then', async () => {
  const mesh = new Mesh()
  const [worker, watcher, third] = [await mesh.box(1), await mesh.box(2), await mesh.box(3)]
  const stopProgress = watcher.pulses.watch(() => {})
  await mesh.clock.advance(60_000)
  expect([worker.sent, third.sent]).toEqual([0, 0])
  stopProgress()
  const heard: ObservedLoad[] = []
  const stop = watcher.pulses.watchLoad((load) => heard.push(load))
  worker.load = { cpuPercent: 97.5, memoryMb: 512, transfers: 2 }
  await mesh.clock.advance(30_000)
  expect(new Map(heard.map((load) => [load.nodeId, load])).size).toBe(3)
  expect(watcher.pulses.loads().get(worker.keyPair.nodeId)).toEqual({
    nodeId: worker.keyPair.nodeId,
    cpuPercent: 97.5,
    memoryMb: 512,
    eventLoopMs: undefined,
    transfers: 2
  })
  // Every five seconds, give or take a quarter.
  expect(worker.sent).toBeGreaterThanOrEqual(4)
  expect(worker.sent).toBeLessThanOrEqual(8)
  // Whoever does not watch does not keep a watch on others for nothing, but sends.
  expect(third.sent).toBeGreaterThanOrEqual(4)
  stop()
  await mesh.clock.advance(init.interestMs + 10_000)
  const before = [worker.sent, third.sent, watcher.sent]
  await mesh.clock.advance(60_000)
  expect([worker.sent, third.sent, watcher.sent]).toEqual(before)
  expect(watcher.pulses.loads().size).toBe(0)
  expect(mesh.clock.pending).toBe(0)
})

test('[FLEET-48] in a large mesh each node tells its load seldom, and not all at once', async () => {
  const mesh = new Mesh()
  const [worker, watcher] = [await mesh.box(1), await mesh.box(2)]
  for (let number = 10; number < 208; number++) mesh.epochs.set((await keyPairOf(number)).nodeId, 1)
  watcher.pulses.watchLoad(() => {})
  await mesh.clock.advance(1_000_000)
  // 200 nodes at two a second in all: one in 100 s each, give or take a quarter.
  expect(worker.sent).toBeGreaterThanOrEqual(8)
  expect(worker.sent).toBeLessThanOrEqual(13)
  expect(watcher.pulses.loads().size).toBe(2)
})

test('[FLEET-48] a load that is not renewed is forgotten, and whoever makes up keys cannot fill the memory', async () => {
  const environment = virtualEnvironment(1)
  const ear = await Ear.create(environment, { maxWriters: 10 })
  for (let number = 1; number <= 30; number++) {
    expect(ear.hear(await keyPairOf(number), 1, { type: 'load', ...idle })).toBe('accept')
  }
  expect(ear.pulses.loads().size).toBe(10)
  await environment.clock.advance(14_999)
  expect(ear.pulses.loads().size).toBe(10)
  await environment.clock.advance(2)
  expect(ear.pulses.loads().size).toBe(0)
})

test('[FLEET-48] whoever watched loads before the start, or over a restart, is served', async () => {
  const mesh = new Mesh()
  const [worker, watcher] = [await mesh.box(1), await mesh.box(2)]
  watcher.pulses.stop()
  const heard = new Set<NodeId>()
  watcher.pulses.watchLoad(({ nodeId }) => heard.add(nodeId))
  await mesh.clock.advance(30_000)
  expect(heard.size).toBe(0)
  watcher.pulses.start()
  await mesh.clock.advance(30_000)
  expect(heard.size).toBe(2)
  watcher.pulses.stop()
  worker.pulses.stop()
  await mesh.clock.advance(60_000)
  expect(mesh.clock.pending).toBe(0)
})

test('[FLEET-48] whoever watches alone sees its own load, and tells it nobody', async () => {
  const mesh = new Mesh()
  const watcher = await mesh.box(1)
  let heard = 0
  watcher.pulses.watchLoad(() => (heard += 1))
  await mesh.clock.advance(60_000)
  expect(heard).toBeGreaterThanOrEqual(9)
  // Its interest, every ten seconds give or take a quarter, and nothing else.
  expect(watcher.sent).toBeLessThanOrEqual(9)
})

test('[ROOT-21] a pulse of whoever is no member is not heard, and nobody is blamed for passing it on', async () => {
  const [member, revoked] = [await keyPairOf(1), await keyPairOf(2)]
  const ear = await Ear.create()
  ear.revoked.add(revoked.nodeId)
  const body = { type: 'progress', ...progress(100) }
  expect([ear.hear(revoked, 1, body), ear.hear(member, 1, body)]).toEqual(['ignore', 'accept'])
  expect([...ear.pulses.progress().keys()]).toEqual([member.nodeId])
})
