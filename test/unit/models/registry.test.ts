import { expect, test } from 'vitest'
import { errorCode, messageOf, MurmurateError } from '../../../src/core/errors.js'
import { parseModelId, parseVersion } from '../../../src/core/ids.js'
import { silentLogger } from '../../../src/core/logger.js'
import { ModelRegistry, type VariantInput } from '../../../src/models/registry.js'
import { releaseId, releaseKind, releasePage } from '../../../src/models/release.js'
import { FakeBlobs, type FakeCatalog } from '../../support/fakes.js'
import { caught } from '../core/caught.js'
import { emptyDisk, virtualMesh, type Disk, type RecordNode, type VirtualMesh } from '../record/mesh.js'

const model = parseModelId('detector')
const version = parseVersion('1.0.0')
const catalog: FakeCatalog = new Map()
const input = (path: string, id = 'any'): VariantInput => ({ id, files: [{ path }] })

interface Box {
  readonly record: RecordNode
  readonly registry: ModelRegistry
  readonly blobs: FakeBlobs
}

async function start(mesh: VirtualMesh, number: number, disk: Disk = emptyDisk()): Promise<Box> {
  const record = await mesh.node(number, { disk })
  const blobs = new FakeBlobs(mesh.environment.clock, catalog)
  const registry = new ModelRegistry({ document: record.document, blobs, logger: silentLogger })
  await mesh.environment.clock.run(record.start())
  await mesh.environment.clock.advance(500)
  return { record, registry, blobs }
}

test('[MODEL-5] a release that was published is known on every node, and to a node that starts again', async () => {
  const mesh = virtualMesh(1)
  const disk = emptyDisk()
  const [one, two] = [await start(mesh, 0, disk), await start(mesh, 1)]
  const heard: string[] = []
  two.registry.onRelease((each) => heard.push(each))
  const variants = [
    { ...input('b.onnx:200', 'fp16'), precision: 'fp16', providers: ['cuda'], requirements: { gpuMemoryMb: 10 } },
    input('a.onnx:100', 'cpu')
  ]
  const published = await mesh.environment.clock.run(
    one.registry.publish(model, version, variants, { metadata: { licence: 'MIT' } })
  )
  await mesh.environment.clock.advance(1000)
  expect(published.release.variants.map(({ id, sizeBytes }) => [id, sizeBytes])).toEqual([
    ['cpu', 100],
    ['fp16', 200]
  ])
  expect(two.registry.require(model, version)).toEqual(published)
  expect([two.registry.models(), two.registry.versions(model), heard]).toEqual([[model], [version], [model]])
  await mesh.environment.clock.run(one.record.stop())
  expect((await start(mesh, 0, disk)).registry.require(model, version)).toEqual(published)
})

test('[MODEL-5] publishing the same bytes again does nothing, on any node and in any order', async () => {
  const mesh = virtualMesh(1)
  const [one, two] = [await start(mesh, 0), await start(mesh, 1)]
  const publish = (box: Box, ...variants: VariantInput[]): ReturnType<ModelRegistry['publish']> =>
    mesh.environment.clock.run(box.registry.publish(model, version, variants))
  const first = await publish(one, input('x', 'a'), input('y', 'b'))
  await mesh.environment.clock.advance(1000)
  expect(await publish(one, input('y', 'b'), input('x', 'a'))).toEqual(first)
  expect(await publish(two, input('x', 'a'), input('y', 'b'))).toEqual(first)
  expect([...two.record.document.all(releaseKind)]).toHaveLength(1)
  // It holds the bytes now and serves them too.
  expect(two.blobs.held.size).toBe(2)
})

test('[MODEL-20] other bytes under a version that exists are refused with CONFLICT, and nothing of them is kept', async () => {
  const mesh = virtualMesh(1)
  const [one, two] = [await start(mesh, 0), await start(mesh, 1)]
  const first = await mesh.environment.clock.run(
    one.registry.publish(model, version, [input('x', 'a'), input('y', 'b')])
  )
  await mesh.environment.clock.advance(1000)
  const shared = first.release.variants[0]?.manifest
  for (const box of [one, two]) {
    // What another release has as well may stay.
    const held = new Set([...box.blobs.held, shared])
    const offer = box.registry.publish(model, version, [input('x', 'a'), input('z', 'b')])
    const error = await mesh.environment.clock.run(offer.catch((caughtError: unknown) => caughtError))
    expect(errorCode(error)).toBe('CONFLICT')
    expect((error as MurmurateError).details).toMatchObject({
      existing: first.id,
      publisher: one.record.keyPair.nodeId
    })
    expect(box.blobs.held).toEqual(held)
    expect(box.registry.require(model, version)).toEqual(first)
  }
})

test('[MODEL-6] of two publishers at once the same one wins on both nodes, and both know of the conflict', async () => {
  const mesh = virtualMesh(1)
  const [one, two] = [await start(mesh, 0), await start(mesh, 1)]
  mesh.hub.cut(one.record.keyPair.nodeId, two.record.keyPair.nodeId)
  await mesh.environment.clock.advance(100)
  await mesh.environment.clock.run(one.registry.publish(model, version, [input('mine')]))
  await mesh.environment.clock.run(two.registry.publish(model, version, [input('yours')]))
  expect(one.registry.require(model, version).id).not.toBe(two.registry.require(model, version).id)
  mesh.hub.heal(one.record.keyPair.nodeId, two.record.keyPair.nodeId)
  await mesh.environment.clock.advance(60_000)
  const [a, b] = [one.registry.require(model, version), two.registry.require(model, version)]
  expect(a).toEqual(b)
  expect(a.conflicting).toBe(true)
})

test('[MODEL-20] of two publications of one version on one node at once, the second is refused', async () => {
  const mesh = virtualMesh(1)
  const one = await start(mesh, 0)
  const [first, second] = await mesh.environment.clock.run(
    Promise.allSettled([
      one.registry.publish(model, version, [input('mine')]),
      one.registry.publish(model, version, [input('yours')])
    ])
  )
  expect(first.status).toBe('fulfilled')
  expect(second.status === 'rejected' ? errorCode(second.reason) : 'fulfilled').toBe('CONFLICT')
  expect(one.blobs.held.size).toBe(1)
})

test('[MODEL-7] when a file, the metadata or the disk fails, nothing is published and nothing is kept', async () => {
  const mesh = virtualMesh(1)
  const disk = emptyDisk()
  const one = await start(mesh, 0, disk)
  const publish = (variants: VariantInput[], metadata = {}): Promise<unknown> =>
    mesh.environment.clock.run(one.registry.publish(model, version, variants, { metadata }).catch(errorCode))
  expect(await publish([input('x', 'a'), input('missing', 'b')])).toBe('FILE_CHANGED')
  expect(await publish([input('x')], { note: 'x'.repeat(2000) })).toBe('INVALID_REQUEST')
  expect(await publish([input('x', 'a'), input('y', 'a')])).toBe('INVALID_REQUEST')
  expect(await publish([])).toBe('INVALID_REQUEST')
  expect(await publish([{ id: '../x', files: [{ path: 'x' }] }])).toBe('INVALID_REQUEST')
  disk.failure = new MurmurateError('INSUFFICIENT_STORAGE', 'full')
  expect(await publish([input('x')])).toBe('INSUFFICIENT_STORAGE')
  disk.failure = undefined
  await mesh.environment.clock.advance(5000)
  expect([one.blobs.held.size, one.registry.models()]).toEqual([0, []])
  expect(await publish([input('x')])).toMatchObject({ release: { version } })
})

test('[MODEL-8] a version that is not known says which are, the newest first', async () => {
  const mesh = virtualMesh(1)
  const one = await start(mesh, 0)
  expect(caught(() => one.registry.require(model, version))?.message).toBe(
    'detector 1.0.0 is not known here; no version of it is known here'
  )
  for (const each of ['1.2.0', '1.10.0', '1.9.0-rc.1', '1.9.0', '1.9.0+b', '0.1.0']) {
    await mesh.environment.clock.run(one.registry.publish(model, each, [input(each)]))
  }
  const error = caught(() => one.registry.require(model, version))
  expect(error?.code).toBe('MODEL_NOT_FOUND')
  expect(error?.message).toBe(
    'detector 1.0.0 is not known here; known versions: 1.10.0, 1.9.0+b, 1.9.0, 1.9.0-rc.1, 1.2.0'
  )
})

test('[MODEL-6] a release is named by its content alone', async () => {
  const mesh = virtualMesh(1)
  const one = await start(mesh, 0)
  const { release, id } = await mesh.environment.clock.run(one.registry.publish(model, version, [input('x')]))
  expect(releaseId(structuredClone(release))).toBe(id)
  expect(releaseId({ ...release, metadata: {} })).toBe(id)
  expect(releaseId({ ...release, metadata: { a: 'b' } })).not.toBe(id)
  expect(releaseId({ ...release, version: parseVersion('1.0.1') })).not.toBe(id)
  const [variant] = release.variants
  if (variant === undefined) throw new Error('no variant')
  expect(releaseId({ ...release, variants: [{ ...variant, sizeBytes: 1 }] })).not.toBe(id)
})

test('[MODEL-6] a release stands on the page of its version, which never changes', async () => {
  const mesh = virtualMesh(1)
  const one = await start(mesh, 0)
  const { release } = await mesh.environment.clock.run(one.registry.publish(model, version, [input('x')]))
  const { document } = one.record
  const write = (page = releasePage(model, version), body = release): Promise<unknown> =>
    mesh.environment.clock.run(
      document.write(releaseKind, page, body).catch((error: unknown) => [errorCode(error), messageOf(error)])
    )
  expect(await write()).toBeUndefined()
  expect(await write(releasePage(model, version), { ...release, metadata: { a: 'b' } })).toMatchObject([
    'CONFLICT',
    /another content/
  ])
  expect(await write(releasePage(model, parseVersion('2.0.0')))).toMatchObject(['INVALID_REQUEST', {}])
  const twice = { ...release, variants: [...release.variants, ...release.variants] }
  const [code, message] = (await write(undefined, twice)) as string[]
  expect([code, message]).toEqual(['INVALID_REQUEST', expect.stringContaining('a variant is given twice')])
})

test('[FLEET-40] a listener of releases that throws is not held against the publisher, and the others hear', async () => {
  const mesh = virtualMesh(1)
  const one = await start(mesh, 0)
  const heard: string[] = []
  one.registry.onRelease(() => {
    throw new Error('my own mistake')
  })
  one.registry.onRelease((id) => heard.push(id))
  const release = await mesh.environment.clock.run(one.registry.publish(model, version, [input('a:10')]))
  expect([heard, release.release.model]).toEqual([[model], model])
})
