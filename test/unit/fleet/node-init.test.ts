import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createMeshSecret, createNode, MurmurateError, type NodeInit } from '../../../src/index.js'

let directory: string
const secret = createMeshSecret()

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-init-'))
})

afterEach(() => rm(directory, { recursive: true, force: true }))

/** What a program in plain JavaScript may pass. */
async function refusalOf(parts: Record<string, unknown>): Promise<MurmurateError> {
  const init = { dataDir: join(directory, 'node'), secret, ...parts } as unknown as NodeInit
  const error: unknown = await createNode(init).catch((caught: unknown) => caught)
  if (!(error instanceof MurmurateError)) throw new Error(`Not refused: ${inspect(parts)}`, { cause: error })
  return error
}

test.each<[string, Record<string, unknown>]>([
  ['formation', { formation: ['north'] }],
  ['dataDir', { dataDir: 5 }],
  ['dataDir', { dataDir: '' }],
  ['name', { name: 'x'.repeat(65) }],
  ['listen', { listen: '/ip4/127.0.0.1/tcp/0' }],
  ['peers.0', { peers: [null] }],
  ['discovery', { discovery: 'yes' }],
  ['capabilities.gpus.0.memoryMb', { capabilities: { gpus: [{ name: 'GPU', memoryMb: -1 }] } }],
  ['gpuMemoryMb', { capabilities: { gpuMemoryMb: 8192 } }],
  ['formations', { formations: Array.from({ length: 17 }, String) }],
  ['labels.shelf', { labels: { shelf: 4 } }],
  ['at most 32 labels', { labels: Object.fromEntries(Array.from({ length: 33 }, (_, index) => [`l${index}`, ''])) }],
  ['storageBytes', { storageBytes: -1 }],
  ['storageBytes', { storageBytes: 1.5 }],
  ['retryMS', { tuning: { retryMS: 5 } }],
  ['tuning.retryMs', { tuning: { retryMs: Infinity } }],
  ['tuning.retryMs', { tuning: { retryMs: '5' } }],
  ['parallelTransfers', { tuning: { parallelTransfers: 0 } }],
  ['keepVersions', { tuning: { keepVersions: 0 } }],
  ['keepVersions', { tuning: { keepVersions: 1.5 } }],
  ['keepVersions', { tuning: { keepVersions: 33 } }],
  ['may be 0', { tuning: { retryMs: 0 } }],
  ['runtime', { runtime: { load() {} } }],
  ['logger', { logger: 'console' }],
  ['logger', { logger: {} }],
  ['environment', { environment: {} }],
  ['environment', { environment: null }]
])('[FLEET-8] a wrong %s is refused by name before anything is made', async (field, parts) => {
  const error = await refusalOf(parts)
  expect(error.code).toBe('INVALID_REQUEST')
  expect(error.message).toContain(field)
  expect(await readdir(directory)).toEqual([])
})

test.each([undefined, null, 'node', []])('[FLEET-8] %j is no description of a node', async (init) => {
  const error: unknown = await createNode(init as unknown as NodeInit).catch((caught: unknown) => caught)
  expect(error).toMatchObject({ code: 'INVALID_REQUEST' })
})

test.each<[string, unknown]>([
  ['SECRET_MALFORMED', 'correct horse battery staple'],
  ['SECRET_MALFORMED', `${secret}x`],
  ['SECRET_MALFORMED', secret.slice(0, -1)],
  ['INVALID_REQUEST', { text: 'correct horse battery staple' }],
  ['INVALID_REQUEST', '']
])('[FLEET-8] a malformed secret is %s, and no part of it is in the error', async (code, malformed) => {
  const error = await refusalOf({ secret: malformed })
  expect(error.code).toBe(code)
  const shown = inspect(error, { depth: 10 }) + JSON.stringify(error)
  expect(shown).not.toContain('battery')
  expect(shown).not.toContain(secret.slice(25, 40))
  expect(await readdir(directory)).toEqual([])
})

test.each(['nonsense', '/ip4/999.0.0.1/tcp/1', '/ip4/127.0.0.1/tcp/99999', 'http://127.0.0.1'])(
  '[FLEET-8] to listen on %j is refused at the start, and the node can be made anew',
  async (address) => {
    const base = { dataDir: join(directory, 'node'), secret, discovery: false }
    const node = await createNode({ ...base, listen: [address] })
    await expect(node.start()).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
    await node.stop()
    const again = await createNode({ ...base, listen: ['/ip4/127.0.0.1/tcp/0'] })
    await again.start()
    await again.stop()
    expect(again.id).toBe(node.id)
  }
)

test('[FLEET-8] a malformed peer address is refused at the start', async () => {
  const listen = ['/ip4/127.0.0.1/tcp/0']
  const node = await createNode({ dataDir: join(directory, 'node'), secret, discovery: false, listen, peers: ['no'] })
  await expect(node.start()).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
  await node.stop()
})
