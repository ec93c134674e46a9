import { readFile } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { cidOf } from '../../../src/blobs/cid.js'
import { Blobs, type Artifact, type TransferProgress } from '../../../src/blobs/blobs.js'
import type { MurmurateError } from '../../../src/core/errors.js'
import { MemoryBlobStore } from '../../../src/blobs/memory-blob-store.js'
import { safetensorsBytes, seededBytes, smallModel } from '../../support/safetensors.js'
import { VirtualClock } from '../../support/virtual-clock.js'
import { systemEnvironment } from '../../../src/core/environment.js'
import { silentLogger } from '../../../src/core/logger.js'
import { keyPairFromSeed } from '../../../src/identity/keypair.js'
import { MemoryHub } from '../../../src/net/memory-hub.js'
import { MemoryNetwork } from '../../../src/net/memory-network.js'
import { inTime, until } from '../../support/until.js'
import { Swarm, type SwarmNode } from './swarm.js'

let swarm: Swarm
let source: SwarmNode
const model = safetensorsBytes(smallModel)

beforeEach(async () => {
  swarm = await Swarm.create()
  source = await swarm.add()
})

afterEach(() => swarm.dispose())

async function bytesOf(artifact: Artifact | undefined): Promise<Buffer> {
  return readFile(artifact?.files[0]?.path ?? '')
}

test('what was published is fetched, byte for byte', async () => {
  const manifest = await swarm.publish(source, model)
  const receiver = await swarm.add()
  expect(await receiver.blobs.local(manifest)).toBeUndefined()
  const plan = await receiver.blobs.plan(manifest)
  expect(plan).toEqual({ totalBytes: model.length, heldBytes: 0, reusableBytes: 0, missingBytes: model.length })
  const { artifact, report } = await inTime('the fetch', receiver.blobs.fetch(manifest))
  expect(artifact).toMatchObject({
    manifest,
    size: model.length,
    files: [{ name: 'model.safetensors', size: model.length }]
  })
  expect(Buffer.compare(await bytesOf(artifact), model)).toBe(0)
  expect(report).toMatchObject({ plan, receivedBytes: model.length, reusedBytes: 0 })
  expect([...report.fromPeers]).toEqual([[source.nodeId, model.length]])
  expect(await receiver.blobs.local(manifest)).toEqual(artifact)
})

test('fetching again costs nothing', async () => {
  const manifest = await swarm.publish(source, model)
  const receiver = await swarm.add()
  await receiver.blobs.fetch(manifest)
  const { report } = await receiver.blobs.fetch(manifest)
  expect(report).toMatchObject({ receivedBytes: 0, reusedBytes: 0, plan: { heldBytes: model.length, missingBytes: 0 } })
})

test('a manifest of many files, some empty, some the same, comes whole', async () => {
  const files = Array.from({ length: 20 }, (_, index) => seededBytes(`file ${index % 15}`, index * 9001))
  const named = await Promise.all(
    files.map(async (bytes, index) => ({ name: `dir/f${index}`, path: await swarm.file(`f${index}`, bytes) }))
  )
  const { manifest, size } = await source.blobs.ingest(named)
  const receiver = await swarm.add()
  const { artifact } = await inTime('the fetch', receiver.blobs.fetch(manifest))
  expect(artifact.size).toBe(size)
  for (const [index, file] of artifact.files.entries()) {
    expect(file.name).toBe(`dir/f${index}`)
    expect(Buffer.compare(await readFile(file.path), files[index] ?? Buffer.alloc(0))).toBe(0)
  }
})

test('[BLOB-3] a new version costs what changed: the rest is copied from the old one', async () => {
  const receiver = await swarm.add()
  await receiver.blobs.fetch(await swarm.publish(source, model))
  const changed = safetensorsBytes(smallModel, { lastLayerRevision: 1 })
  const manifest = await swarm.publish(source, changed)
  const layerBytes = 12 * 256 * 256 * 2 + 2 * 512
  const plan = await receiver.blobs.plan(manifest)
  expect(plan.missingBytes).toBe(layerBytes)
  const { artifact, report } = await inTime('the fetch', receiver.blobs.fetch(manifest))
  expect(report).toMatchObject({ plan, receivedBytes: layerBytes, reusedBytes: model.length - layerBytes })
  expect(Buffer.compare(await bytesOf(artifact), changed)).toBe(0)
})

test('progress goes forward and ends with complete', async () => {
  const manifest = await swarm.publish(source, model)
  const receiver = await swarm.add({ init: { tickMs: 5 } })
  const seen: TransferProgress[] = []
  await receiver.blobs.fetch(manifest, { onProgress: (progress) => seen.push(progress) })
  const have = seen.map(({ haveBytes }) => haveBytes)
  expect(have).toEqual(have.toSorted((a, b) => a - b))
  expect(seen.at(-1)).toMatchObject({
    phase: 'complete',
    totalBytes: model.length,
    haveBytes: model.length,
    receivedBytes: model.length
  })
  expect([...(seen.at(-1)?.fromPeers ?? [])]).toEqual([[source.nodeId, model.length]])
})

test('[BLOB-8] a fetch waits for a peer that has the manifest, and says so', async () => {
  const elsewhere = await Swarm.create()
  const manifest = await elsewhere.publish(await elsewhere.add(), model)
  await elsewhere.dispose()
  const receiver = await swarm.add()
  const reasons: (string | undefined)[] = []
  const fetching = receiver.blobs.fetch(manifest, { onProgress: ({ stalledBecause }) => reasons.push(stalledBecause) })
  await until('a reason', () => reasons.some((reason) => reason?.includes(manifest) === true))
  expect(await swarm.publish(source, model)).toBe(manifest)
  await inTime('the fetch', fetching)
})

test('a plan does not wait: nobody has it', async () => {
  const receiver = await swarm.add()
  const nowhere = cidOf(Uint8Array.of(1))
  await expect(receiver.blobs.plan(nowhere)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' })
})

test('a signal stops a fetch at any point; the parts stay and nothing is fetched twice', async () => {
  const manifest = await swarm.publish(source, model)
  const store = swarm.store('resumed')
  const receiver = await swarm.add({ store, init: { tickMs: 2 } })
  const controller = new AbortController()
  const onProgress = ({ receivedBytes }: TransferProgress): void => {
    if (receivedBytes > 1_000_000) controller.abort()
  }
  const stopped = receiver.blobs.fetch(manifest, { signal: controller.signal, onProgress })
  await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' })
  await swarm.stop(receiver)
  const again = await swarm.add({ store: swarm.store('resumed') })
  const plan = await again.blobs.plan(manifest)
  expect(plan.heldBytes).toBeGreaterThan(1_000_000)
  const { artifact, report } = await inTime('the fetch', again.blobs.fetch(manifest))
  expect(report.receivedBytes).toBe(model.length - plan.heldBytes)
  expect(Buffer.compare(await bytesOf(artifact), model)).toBe(0)
})

test('stop() in the middle of a fetch ends it; start() again resumes', async () => {
  const manifest = await swarm.publish(source, model)
  const receiver = await swarm.add({ init: { tickMs: 2 } })
  const { promise: begun, resolve } = Promise.withResolvers<void>()
  const fetching = receiver.blobs.fetch(manifest, { onProgress: ({ receivedBytes }) => receivedBytes > 0 && resolve() })
  const outcome = expect(fetching).rejects.toMatchObject({ code: 'ABORTED' })
  await inTime('the first bytes', begun)
  await inTime('stop', receiver.blobs.stop())
  await outcome
  await expect(receiver.blobs.fetch(manifest)).rejects.toMatchObject({ code: 'NOT_STARTED' })
  await receiver.blobs.start()
  await inTime('the fetch', receiver.blobs.fetch(manifest))
})

test('two fetches at the same time share the work', async () => {
  const manifest = await swarm.publish(source, model)
  const receiver = await swarm.add()
  const before = source.network.traffic().sentBytes
  const [one, two] = await Promise.all([receiver.blobs.fetch(manifest), receiver.blobs.fetch(manifest)])
  expect(one.artifact).toEqual(two.artifact)
  expect(source.network.traffic().sentBytes - before).toBeLessThan(model.length * 1.1)
})

test('one of two fetches that share a file may give up', async () => {
  const manifest = await swarm.publish(source, model)
  const receiver = await swarm.add({ init: { tickMs: 2 } })
  const controller = new AbortController()
  const onProgress = ({ receivedBytes }: TransferProgress): void => void (receivedBytes > 0 && controller.abort())
  const quitter = receiver.blobs.fetch(manifest, { signal: controller.signal, onProgress })
  const other = receiver.blobs.fetch(manifest)
  await expect(quitter).rejects.toMatchObject({ code: 'ABORTED' })
  expect(Buffer.compare(await bytesOf((await inTime('the other', other)).artifact), model)).toBe(0)
})

test('[BLOB-6] too little room is told before anything is written, with both numbers', async () => {
  const manifest = await swarm.publish(source, model)
  const receiver = await swarm.add({ store: new MemoryBlobStore({ capacityBytes: 5_000_000 }) })
  const error: unknown = await receiver.blobs.fetch(manifest).catch((reason: unknown) => reason)
  const { usedBytes, availableBytes } = await receiver.store.space()
  expect(error).toMatchObject({
    code: 'INSUFFICIENT_STORAGE',
    details: { requiredBytes: model.length + Math.ceil(model.length * 0.01), availableBytes }
  })
  expect(usedBytes).toBeLessThan(10_000)
})

test('two fetches do not count on the same room', async () => {
  const other = safetensorsBytes(smallModel, { seed: 'other' })
  const manifests = [await swarm.publish(source, model), await swarm.publish(source, other)]
  const receiver = await swarm.add({ capacityBytes: Math.floor(model.length * 1.5) })
  const results = await Promise.allSettled(manifests.map((manifest) => receiver.blobs.fetch(manifest)))
  const refused = results.filter((result) => result.status === 'rejected').map(({ reason }) => reason as MurmurateError)
  // It was refused before it wrote anything: it asked for the whole.
  const requiredBytes = model.length + Math.ceil(model.length * 0.01)
  expect(refused.map(({ code, details }) => [code, details.requiredBytes])).toEqual([
    ['INSUFFICIENT_STORAGE', requiredBytes]
  ])
  expect(receiver.store.files().length).toBe(1)
})

test('removing a manifest removes what no other manifest uses', async () => {
  const shared = await swarm.file('shared', seededBytes('shared', 300_000))
  const own = await swarm.file('own', seededBytes('own', 200_000))
  const one = await source.blobs.ingest([
    { name: 'a', path: shared },
    { name: 'b', path: own }
  ])
  const two = await source.blobs.ingest([{ name: 'x', path: shared }])
  await source.blobs.remove(one.manifest)
  expect(await source.blobs.local(one.manifest)).toBeUndefined()
  expect(await source.blobs.local(two.manifest)).toBeDefined()
  expect(source.store.files().length).toBe(1)
  await source.blobs.remove(two.manifest)
  expect(source.store.files()).toEqual([])
  expect((await source.store.space()).usedBytes).toBe(0)
})

test('removing a manifest that is being fetched stops the fetch and leaves nothing', async () => {
  const manifest = await swarm.publish(source, model)
  const receiver = await swarm.add({ init: { tickMs: 2 } })
  const { promise: begun, resolve } = Promise.withResolvers<void>()
  const fetching = receiver.blobs.fetch(manifest, { onProgress: ({ receivedBytes }) => receivedBytes > 0 && resolve() })
  const outcome = expect(fetching).rejects.toMatchObject({ code: 'ABORTED' })
  await inTime('the first bytes', begun)
  await inTime('the removal', receiver.blobs.remove(manifest))
  await outcome
  expect(receiver.store.files()).toEqual([])
  expect((await receiver.store.space()).usedBytes).toBe(0)
})

test('[BLOB-5] stop() in the middle of publishing ends it, and nothing is kept', async () => {
  const path = await swarm.file('large', seededBytes('large', 20_000_000))
  let stopping: Promise<void> | undefined
  const onProgress = (): void => void (stopping ??= source.blobs.stop())
  const ingesting = source.blobs.ingest([{ name: 'large', path }], { onProgress })
  await expect(ingesting).rejects.toMatchObject({ code: 'ABORTED' })
  await stopping
  await source.blobs.start()
  expect(source.store.files()).toEqual([])
})

test('the whole way works on a virtual clock, with a store in memory', async () => {
  const clock = new VirtualClock({ settleTurns: 2 })
  const environment = { clock, random: systemEnvironment.random }
  const hub = new MemoryHub({ environment })
  const [a, b] = await Promise.all(
    ['a', 'b'].map(async (name) => {
      const { nodeId } = await keyPairFromSeed(seededBytes(name, 32))
      const network = new MemoryNetwork({ nodeId, hub })
      network.start()
      const blobs = new Blobs({ network, store: new MemoryBlobStore(), environment, logger: silentLogger })
      await blobs.start()
      return blobs
    })
  )
  if (a === undefined || b === undefined) throw new Error('no nodes')
  await clock.advance(1000)
  const { manifest } = await a.ingest([{ name: 'model', path: await swarm.file('original', model) }])
  const { report } = await clock.run(b.fetch(manifest))
  expect(report.receivedBytes).toBe(model.length)
  expect(report.seconds).toBeGreaterThan(0)
  await Promise.all([clock.run(a.stop()), clock.run(b.stop())])
})

test('a listener of progress that throws ends nothing', async () => {
  const manifest = await swarm.publish(source, model)
  const receiver = await swarm.add({ init: { tickMs: 5 } })
  const onProgress = (): never => {
    throw new Error('the listener is broken')
  }
  const { report } = await inTime('the fetch', receiver.blobs.fetch(manifest, { onProgress }))
  expect(report.receivedBytes).toBe(model.length)
})

test('a fetch that begins while another one of the same files is given up is not given up with it', async () => {
  const manifest = await swarm.publish(source, model)
  const receiver = await swarm.add()
  const { store } = receiver
  const [openPart, space] = [store.openPart.bind(store), store.space.bind(store)]
  const giveUp = new AbortController()
  const secondAsked = Promise.withResolvers<void>()
  let parts = 0
  store.openPart = async (file) => {
    if (++parts === 1) await secondAsked.promise
    return openPart(file)
  }
  const first = receiver.blobs.fetch(manifest, { signal: giveUp.signal })
  await until('the first one has begun', () => parts === 1)
  store.space = async () => {
    // The second one has looked for downloads that are being stopped, and now asks for room.
    giveUp.abort()
    const room = await space()
    secondAsked.resolve()
    return room
  }
  const second = receiver.blobs.fetch(manifest)
  await expect(first).rejects.toMatchObject({ code: 'ABORTED' })
  const { artifact } = await inTime('the fetch', second)
  expect(Buffer.compare(await bytesOf(artifact), model)).toBe(0)
})
