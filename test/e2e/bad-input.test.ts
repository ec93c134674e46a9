import { writeFile, mkdir, rm, truncate } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createMeshSecret, type ModelDistributionHandle, type VariantInput } from '../../src/index.js'
import { addressOf, TestNodes } from '../support/nodes.js'

let nodes: TestNodes

beforeEach(async () => {
  nodes = await TestNodes.create()
})

afterEach(async () => {
  await nodes.stop()
})

async function variantWith(name: string, bytes: Uint8Array): Promise<VariantInput> {
  const path = join(nodes.directory, name)
  await writeFile(path, bytes)
  return { id: 'default', files: [{ path, name: 'model.bin' }] }
}

it('another secret: the peer counts as nobody, and the mesh goes on', async () => {
  const a = await nodes.start('a')
  const b = await nodes.start('b')
  const stranger = await nodes.start('stranger', { secret: createMeshSecret() })
  await expect(stranger.connect(addressOf(a))).rejects.toMatchObject({ code: 'NETWORK_ERROR' })
  await b.connect(addressOf(a))
})

it('a secret of the wrong form never appears in the error', async () => {
  const secret = 'murmurate-secret-1:tooshort'
  const error: unknown = await nodes.make('a', { secret }).catch((caught: unknown) => caught)
  expect(error).toMatchObject({ code: 'SECRET_MALFORMED' })
  expect(JSON.stringify(error) + String(error)).not.toContain('tooshort')
})

it('a data directory that is a file', async () => {
  await writeFile(join(nodes.directory, 'file'), '')
  await expect(nodes.make('file')).rejects.toMatchObject({ code: 'DATA_DIR_UNREADABLE' })
})

it('a port that another program listens on; the node can be started elsewhere with the same data', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const node = await nodes.make('a', { listen: [`/ip4/127.0.0.1/tcp/${port}`] })
  await expect(node.start()).rejects.toMatchObject({ code: 'PORT_IN_USE' })
  const again = await nodes.start('a')
  expect(again.id).toBe(node.id)
  server.close()
})

it('a second node on the same data directory', async () => {
  await nodes.start('a')
  const second = await nodes.make('a')
  await expect(second.start()).rejects.toMatchObject({ code: 'DATA_DIR_IN_USE', details: { pid: process.pid } })
})

it('an unknown model, version or variant', async () => {
  const node = await nodes.start('a')
  await expect(node.distribution.distributeModel('detector', '1.0.0')).rejects.toMatchObject({
    code: 'MODEL_NOT_FOUND'
  })
  expect(() => node.distribution.convergenceStatus('detector', '1.0.0')).toThrow('No rollout of detector 1.0.0')
  await node.models.publish('detector', '1.0.0', [await variantWith('one', Buffer.from('one'))])
  await expect(node.distribution.distributeModel('detector', '1.0.1')).rejects.toThrow('known versions: 1.0.0')
  const wrongVariant = node.distribution.distributeModelVariant('detector', '1.0.0', 'fp16')
  await expect(wrongVariant).rejects.toThrow('it has default')
})

it('a handle that is none, or of a rollout that nobody knows', async () => {
  const { distribution } = await nodes.start('a')
  await expect(distribution.cancel({} as ModelDistributionHandle)).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
  expect(() => distribution.handle('x')).toThrow('not a rollout id')
  expect(() => distribution.handle('01234567-89ab-4def-8123-456789abcdef')).toThrow('No rollout')
})

it('[MODEL-20] the same version with other bytes is refused and the first stays', async () => {
  const node = await nodes.start('a')
  const first = await node.models.publish('detector', '1.0.0', [await variantWith('one', Buffer.from('one'))])
  const other = node.models.publish('detector', '1.0.0', [await variantWith('two', Buffer.from('two'))])
  await expect(other).rejects.toMatchObject({ code: 'CONFLICT' })
  const again = await node.models.publish('detector', '1.0.0', [await variantWith('same', Buffer.from('one'))])
  expect(again.id).toBe(first.id)
})

it.each(['1.0', 'v1.0.0', 'latest', '1.0.0/../2', ''])('the malformed version %j', async (version) => {
  const node = await nodes.start('a')
  const publish = node.models.publish('detector', version, [await variantWith('one', Buffer.from('one'))])
  await expect(publish).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
})

it('a file that is missing, or changes while it is published: nothing is kept', async () => {
  const node = await nodes.start('a')
  const missing = node.models.publish('detector', '1.0.0', [
    { id: 'default', files: [{ path: join(nodes.directory, 'no') }] }
  ])
  await expect(missing).rejects.toMatchObject({ code: 'INVALID_REQUEST' })

  const variant = await variantWith('shrinking', Buffer.alloc(32 * 1024 * 1024, 1))
  let shrunk: Promise<void> | undefined
  const onProgress = (): void => void (shrunk ??= truncate(join(nodes.directory, 'shrinking'), 1000))
  const changing = node.models.publish('detector', '1.0.0', [variant], { onProgress })
  await expect(changing).rejects.toMatchObject({ code: 'FILE_CHANGED' })
  await shrunk
  expect(
    node.models.versions(
      (await node.models.publish('detector', '2.0.0', [await variantWith('one', Buffer.from('1'))])).release.model
    )
  ).toEqual(['2.0.0'])
})

it('a disk that is too small to publish: both numbers are said', async () => {
  const node = await nodes.start('a', { storageBytes: 1024 * 1024 })
  const publish = node.models.publish('detector', '1.0.0', [await variantWith('big', Buffer.alloc(8 * 1024 * 1024))])
  const error: unknown = await publish.catch((caught: unknown) => caught)
  expect(error).toMatchObject({ code: 'INSUFFICIENT_STORAGE' })
  const { requiredBytes, availableBytes } = (error as { details: { requiredBytes: number; availableBytes: number } })
    .details
  expect(requiredBytes).toBeGreaterThanOrEqual(8 * 1024 * 1024)
  expect(availableBytes).toBeLessThanOrEqual(1024 * 1024)
})

it('a key file that is damaged', async () => {
  await mkdir(join(nodes.directory, 'a'))
  await writeFile(join(nodes.directory, 'a', 'node.key'), 'short', { mode: 0o600 })
  await expect(nodes.make('a')).rejects.toMatchObject({ code: 'KEY_UNREADABLE' })
  await rm(join(nodes.directory, 'a'), { recursive: true })
})
