import { chmod, open, readFile } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Blobs, type TransferReport } from '../../../src/blobs/blobs.js'
import { MemoryBlobStore } from '../../../src/blobs/memory-blob-store.js'
import { silentLogger } from '../../../src/core/logger.js'
import { keyPairFromSeed } from '../../../src/identity/keypair.js'
import { MemoryHub } from '../../../src/net/memory-hub.js'
import { MemoryNetwork } from '../../../src/net/memory-network.js'
import { seededRandom, VirtualClock } from '../../support/virtual-clock.js'
import { modelOf, safetensorsBytes, seededBytes } from '../../support/safetensors.js'
import { inTime, until } from '../../support/until.js'
import { Swarm, type SwarmNode } from './swarm.js'

let swarm: Swarm
let source: SwarmNode
const model = safetensorsBytes(modelOf(24_000_000))

beforeEach(async () => {
  swarm = await Swarm.create([1, 2])
  source = await swarm.add()
})

afterEach(() => swarm.dispose())

async function expectWhole(node: SwarmNode, path: string | undefined): Promise<void> {
  expect(Buffer.compare(await readFile(path ?? ''), model), node.nodeId).toBe(0)
}

/** Runs a source and its receivers on a clock that stands still while they compute: the same run every time. */
async function virtualSwarm(
  count: number
): Promise<{ readonly sent: number; readonly reports: readonly TransferReport[] }> {
  const clock = new VirtualClock({ settleTurns: 2 })
  const environment = { clock, random: seededRandom(7) }
  const hub = new MemoryHub({ environment, latencyMs: [1, 2] })
  const nodes = await Promise.all(
    Array.from({ length: count + 1 }, async (_, index) => {
      const { nodeId } = await keyPairFromSeed(seededBytes(`virtual ${index}`, 32))
      const network = new MemoryNetwork({ nodeId, hub })
      network.start()
      // Links without a limit of rate move everything in milliseconds, so news of chunks must be as quick.
      const blobs = new Blobs(
        { network, store: new MemoryBlobStore(), environment, logger: silentLogger },
        { haveDelayMs: 1 }
      )
      await blobs.start()
      return { network, blobs }
    })
  )
  await clock.advance(1000)
  const [first, ...receivers] = nodes
  if (first === undefined) throw new Error('no nodes')
  const { manifest } = await first.blobs.ingest([{ name: 'model', path: await swarm.file('original', model) }])
  const before = first.network.traffic().sentBytes
  const fetches = Promise.all(receivers.map(({ blobs }) => blobs.fetch(manifest)))
  const reports = (await clock.run(fetches)).map(({ report }) => report)
  const sent = (first.network.traffic().sentBytes - before) / model.length
  for (const { blobs } of nodes) await clock.run(blobs.stop())
  return { sent, reports }
}

test.each([2, 4])('%i receivers serve each other: the source sends each byte about once', async (count) => {
  const { sent, reports } = await virtualSwarm(count)
  expect(sent).toBeLessThan(1.3)
  for (const { fromPeers } of reports) expect(fromPeers.size).toBeGreaterThan(1)
})

test('[BLOB-4] a receiver that comes late is served by the others when the source is gone', async () => {
  const manifest = await swarm.publish(source, model)
  const early = await swarm.add()
  await early.blobs.fetch(manifest)
  await swarm.stop(source)
  const late = await swarm.add()
  const { artifact, report } = await inTime('the fetch', late.blobs.fetch(manifest))
  expect([...report.fromPeers.keys()]).toEqual([early.nodeId])
  await expectWhole(late, artifact.files[0]?.path)
})

test('the source goes away in the middle, and another comes', async () => {
  // Small chunks: more are under way than the last few that would be asked of two peers anyway.
  const bytes = seededBytes('small chunks', 24_000_000)
  const manifest = await swarm.publish(source, bytes)
  const receiver = await swarm.add({ init: { tickMs: 2 } })
  let reason: string | undefined
  const { promise: begun, resolve } = Promise.withResolvers<void>()
  const fetching = receiver.blobs.fetch(manifest, {
    onProgress: (progress) => {
      if (progress.receivedBytes > 5_000_000) resolve()
      reason = progress.stalledBecause
    }
  })
  await inTime('the first bytes', begun)
  await swarm.stop(source)
  await until('the reason', () => reason !== undefined)
  expect(reason).toContain('no peer')
  const second = await swarm.add()
  expect(await swarm.publish(second, bytes)).toBe(manifest)
  const { artifact, report } = await inTime('the fetch', fetching)
  expect(report.receivedBytes).toBe(bytes.length)
  expect(new Set(report.fromPeers.keys())).toEqual(new Set([source.nodeId, second.nodeId]))
  expect(Buffer.compare(await readFile(artifact.files[0]?.path ?? ''), bytes)).toBe(0)
})

test('[BLOB-1] a byte that rotted on disk is never served; the rest is, and another peer fills in', async () => {
  const manifest = await swarm.publish(source, model)
  const second = await swarm.add()
  await second.blobs.fetch(manifest)
  const path = (await source.blobs.local(manifest))?.files[0]?.path ?? ''
  await chmod(path, 0o600)
  const handle = await open(path, 'r+')
  await handle.write(Buffer.from('rot'), 0, 3, 5_000_000)
  await handle.close()
  const receiver = await swarm.add()
  const { artifact, report } = await inTime('the fetch', receiver.blobs.fetch(manifest))
  await expectWhole(receiver, artifact.files[0]?.path)
  expect(report.refusedPeers.size).toBe(0)
})

test('a byte that rotted is found when it is read, and fetched again', async () => {
  const manifest = await swarm.publish(source, model)
  const other = await swarm.add()
  const { artifact } = await other.blobs.fetch(manifest)
  const path = artifact.files[0]?.path ?? ''
  await chmod(path, 0o600)
  const handle = await open(path, 'r+')
  await handle.write(Buffer.from('rot'), 0, 3, 5_000_000)
  await handle.close()
  const [file] = other.store.files()
  const state = file === undefined ? undefined : await other.store.state(file)
  if (file === undefined || state === undefined) throw new Error('no file')
  for (let chunk = 0; chunk < state.chunks.count; chunk++) await other.store.readChunk(file, chunk).catch(() => {})
  expect(await other.blobs.local(manifest)).toBeUndefined()
  const { report } = await inTime('the fetch', other.blobs.fetch(manifest))
  expect(report.receivedBytes).toBeLessThanOrEqual(256 * 1024)
  await expectWhole(other, (await other.blobs.local(manifest))?.files[0]?.path)
})
