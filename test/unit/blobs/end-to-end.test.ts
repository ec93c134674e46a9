import '../../../src/core/polyfill.js'
import { mkdtemp, rm, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.js'
import { silentLogger } from '../../../src/core/logger.js'
import { ephemeralKeyPair } from '../../../src/identity/keypair.js'
import { MemoryHub } from '../../../src/net/memory-hub.js'
import { MemoryNetwork } from '../../../src/net/memory-network.js'
import { Blobs } from '../../../src/blobs/blobs.js'
import { FsBlobStore } from '../../../src/blobs/fs-blob-store.js'
import { smallModel, writeSafetensors, modelOf } from '../../support/safetensors.js'

test('smoke', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'blobs-'))
  const hub = new MemoryHub({ environment: systemEnvironment })
  const make = async (name: string) => {
    const { nodeId } = await ephemeralKeyPair(systemEnvironment.random)
    const network = new MemoryNetwork({ nodeId, hub })
    await network.start()
    const log = (m: string, f?: unknown) => console.log(name, m, f ?? '')
    const logger = { debug: log, info: log, warn: log, error: log }
    const store = new FsBlobStore({ directory: join(dir, name), environment: systemEnvironment, logger })
    const blobs = new Blobs({ network, store, environment: systemEnvironment, logger })
    await blobs.start()
    return { blobs, network, store, nodeId }
  }
  const a = await make('a')
  const b = await make('b')
  const c = await make('c')
  await writeSafetensors(join(dir, 'v1'), modelOf(64e6))
  await writeSafetensors(join(dir, 'v2'), modelOf(64e6), { lastLayerRevision: 1 })
  const one = await a.blobs.ingest([{ name: 'm.safetensors', path: join(dir, 'v1') }])
  console.log(one, await b.blobs.plan(one.manifest))
  const sent0 = a.network.traffic().sentBytes
  const t0 = performance.now()
  const [r, r2] = await Promise.all([b.blobs.fetch(one.manifest, { onProgress: (p) => console.log(p.phase, p.haveBytes, p.stalledBecause) }), c.blobs.fetch(one.manifest)])
  console.log(r.report, r2.report, performance.now() - t0, (a.network.traffic().sentBytes - sent0) / one.size)
  const file = r.artifact.files[0]
  expect(Buffer.compare(await readFile(join(dir, 'v1')), await readFile(file?.path ?? ''))).toBe(0)
  const two = await a.blobs.ingest([{ name: 'm.safetensors', path: join(dir, 'v2') }])
  console.log(await b.blobs.plan(two.manifest), (await b.blobs.fetch(two.manifest)).report)
  await b.blobs.remove(one.manifest)
  console.log(b.store.files(), await b.store.space())
  for (const n of [a, b, c]) { await n.blobs.stop(); await n.network.stop() }
  await rm(dir, { recursive: true })
})
