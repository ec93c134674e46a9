import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.js'
import { ephemeralKeyPair, keyPairFromSeed, loadOrCreateKeyPair } from '../../../src/identity/keypair.js'
import { nodeIdOf } from '../../../src/identity/node-id.js'
import { sign, SignatureVerifier } from '../../../src/identity/signature.js'

const { random } = systemEnvironment
let directory: string
let path: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-key-'))
  path = join(directory, 'deep', 'down', 'node.key')
})
afterEach(() => rm(directory, { recursive: true, force: true }))

async function writeKey(bytes: Uint8Array, mode = 0o600): Promise<void> {
  await mkdir(join(directory, 'deep', 'down'), { recursive: true })
  await writeFile(path, bytes)
  await chmod(path, mode)
}

test('[ID-2] the key file is made once, has mode 0600 in a directory of mode 0700, and is used again', async () => {
  const first = await loadOrCreateKeyPair(path, random)
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect((await stat(join(directory, 'deep'))).mode & 0o777).toBe(0o700)
  expect(new Uint8Array(await readFile(path))).toEqual(first.seed)
  const second = await loadOrCreateKeyPair(path, random)
  expect(second.nodeId).toBe(first.nodeId)
})

test('[ID-3] when several start at once they all get the key of the first, and no draft is left', async () => {
  const pairs = await Promise.all(Array.from({ length: 8 }, () => loadOrCreateKeyPair(path, random)))
  expect(new Set(pairs.map(({ nodeId }) => nodeId)).size).toBe(1)
  expect(await readdir(join(directory, 'deep', 'down'))).toEqual(['node.key'])
})

test.each([
  ['empty', 0],
  ['cut', 31],
  ['too long', 33]
])('[ID-4] a key file that is %s is KEY_UNREADABLE and stays as it is', async (_, length) => {
  await writeKey(new Uint8Array(length).fill(7))
  await expect(loadOrCreateKeyPair(path, random)).rejects.toMatchObject({
    code: 'KEY_UNREADABLE',
    details: { path },
    message: expect.stringContaining(`has ${length} bytes instead of 32`)
  })
  expect(await readFile(path)).toHaveLength(length)
})

test.each([0o640, 0o604, 0o660, 0o644])('[ID-4] a key file of mode %o is refused', async (mode) => {
  await writeKey(random.bytes(32), mode)
  await expect(loadOrCreateKeyPair(path, random)).rejects.toMatchObject({
    code: 'KEY_UNREADABLE',
    message: expect.stringContaining('chmod 600')
  })
})

test('[ID-4] what cannot be read as a file is KEY_UNREADABLE, with the cause', async () => {
  await mkdir(path, { recursive: true })
  await expect(loadOrCreateKeyPair(path, random)).rejects.toMatchObject({
    code: 'KEY_UNREADABLE',
    cause: { code: 'EISDIR' }
  })
})

test('a place where no file can be made is DATA_DIR_UNREADABLE', async () => {
  // The longest name that a file can have leaves no room for that of a draft.
  await expect(loadOrCreateKeyPair(join(directory, 'k'.repeat(255)), random)).rejects.toMatchObject({
    code: 'DATA_DIR_UNREADABLE',
    cause: { code: 'ENAMETOOLONG' }
  })
})

test('no error about a key file shows its bytes', async () => {
  const seed = random.bytes(33)
  await writeKey(seed)
  const error: unknown = await loadOrCreateKeyPair(path, random).catch((thrown: unknown) => thrown)
  const shown = JSON.stringify(error) + String(error)
  for (const encoding of ['hex', 'base64', 'base64url'] as const) {
    expect(shown).not.toContain(Buffer.from(seed).toString(encoding).slice(0, 20))
  }
})

test('the keys are those of RFC 8032, test 1', async () => {
  const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex')
  const pair = await keyPairFromSeed(new Uint8Array(seed))
  expect(Buffer.from(pair.publicKey).toString('hex')).toBe(
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a'
  )
  expect(pair.nodeId).toBe(nodeIdOf(pair.publicKey))
})

test('the private key and the node id belong together', async () => {
  const pair = await ephemeralKeyPair(random)
  const message = random.bytes(10)
  const signature = sign(pair, 'murmurate/entry/1', message)
  expect(new SignatureVerifier().verify(pair.nodeId, 'murmurate/entry/1', message, signature)).toBe(true)
})
