import { createPrivateKey, hkdfSync, type KeyObject } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { getPublicKeyAsync } from '@noble/ed25519'
import { createFile } from '../core/durable.js'
import { MurmurateError, systemCode } from '../core/errors.js'
import type { Random } from '../core/environment.js'
import type { NodeId } from '../core/ids.js'
import { nodeIdOf } from './node-id.js'

/** Bytes of an Ed25519 seed, RFC 8032. */
const seedBytes = 32
/** What stands before the seed in a PKCS #8 file, RFC 8410. */
const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex')

/** A node's Ed25519 keys. */
export interface KeyPair {
  readonly nodeId: NodeId
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** 32 bytes; never leaves the process. */
  readonly seed: Uint8Array
  /** The same seed for `node:crypto`. */
  readonly privateKey: KeyObject
}

/** Derives a key pair from 32 secret bytes. */
export async function keyPairFromSeed(seed: Uint8Array): Promise<KeyPair> {
  const publicKey = await getPublicKeyAsync(seed)
  const privateKey = createPrivateKey({ key: Buffer.concat([pkcs8Prefix, seed]), format: 'der', type: 'pkcs8' })
  return { nodeId: nodeIdOf(publicKey), publicKey, seed, privateKey }
}

/** 32 bytes that only who has the seed can have, by HKDF-SHA256 (RFC 5869): for the records that this node has verified. */
export function recordLogKey({ seed }: KeyPair): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', seed, new Uint8Array(0), 'murmurate/1/record-log', 32))
}

/** A key pair that no file keeps. */
export async function ephemeralKeyPair(random: Random): Promise<KeyPair> {
  return keyPairFromSeed(random.bytes(seedBytes))
}

/**
 * Reads the key of this node, or makes one. The file holds the 32-byte seed, mode 0600; it appears whole or not at all,
 * and when two processes race, both use the one that came first.
 *
 * @throws MurmurateError `KEY_UNREADABLE` when the file is damaged or may be read by others; `DATA_DIR_UNREADABLE` or
 * `INSUFFICIENT_STORAGE` when it cannot be made
 */
export async function loadOrCreateKeyPair(path: string, random: Random): Promise<KeyPair> {
  const existing = await readSeed(path)
  if (existing !== undefined) return keyPairFromSeed(existing)
  await createFile(path, random.bytes(seedBytes), random)
  const created = await readSeed(path)
  if (created === undefined)
    throw new MurmurateError('KEY_UNREADABLE', `The key file ${path} disappeared`, { details: { path } })
  return keyPairFromSeed(created)
}

/**
 * Reads a key that is there, or finds none.
 *
 * @throws MurmurateError `KEY_UNREADABLE`
 */
export async function loadKeyPair(path: string): Promise<KeyPair | undefined> {
  const seed = await readSeed(path)
  return seed === undefined ? undefined : keyPairFromSeed(seed)
}

async function readSeed(path: string): Promise<Uint8Array | undefined> {
  let seed: Uint8Array
  let mode: number
  try {
    seed = new Uint8Array(await readFile(path))
    mode = (await stat(path)).mode
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return undefined
    throw new MurmurateError('KEY_UNREADABLE', `The key file ${path} cannot be read`, { details: { path }, cause })
  }
  if (seed.byteLength !== seedBytes) {
    throw new MurmurateError(
      'KEY_UNREADABLE',
      `The key file ${path} has ${seed.byteLength} bytes instead of ${seedBytes}`,
      {
        details: { path }
      }
    )
  }
  if ((mode & 0o077) !== 0) {
    throw new MurmurateError('KEY_UNREADABLE', `The key file ${path} may be read by other users: run chmod 600 on it`, {
      details: { path }
    })
  }
  return seed
}
