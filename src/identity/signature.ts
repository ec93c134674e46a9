import { createPublicKey, sign as signBytes, verify as verifyBytes, type KeyObject } from 'node:crypto'
import { Point } from '@noble/ed25519'
import { MurmurateError, messageOf } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { KeyPair } from './keypair.js'
import { publicKeyOf } from './node-id.js'

/** Bytes of an Ed25519 signature. */
export const signatureBytes = 64

/** What stands before the key in a SubjectPublicKeyInfo, RFC 8410. */
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex')

/** What a signature is for; goes under it, so that one made for one purpose is worth nothing for another. */
export type SignatureDomain =
  | 'murmurate/entry/1'
  | 'murmurate/join/1'
  | 'murmurate/presence/1'
  | 'murmurate/pulse/1'
  | 'murmurate/root/1'

function withDomain(domain: SignatureDomain, message: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`${domain}\0`), message])
}

/** Signs a message for one purpose. */
export function sign(keyPair: KeyPair, domain: SignatureDomain, message: Uint8Array): Uint8Array {
  return new Uint8Array(signBytes(null, withDomain(domain, message), keyPair.privateKey))
}

/**
 * Refuses keys for which signatures can be made without the secret: points of small order, not on the curve or not
 * canonically encoded. `node:crypto` takes them, so each key goes through here once, before its first verification.
 *
 * @throws MurmurateError `MALFORMED`
 */
export function assertStrictPublicKey(publicKey: Uint8Array): void {
  let point: Point
  try {
    point = Point.fromBytes(publicKey, false)
    point.assertValidity()
  } catch (cause) {
    throw new MurmurateError('MALFORMED', `Not an Ed25519 public key: ${messageOf(cause)}`, { cause })
  }
  if (point.isSmallOrder()) throw new MurmurateError('MALFORMED', 'The Ed25519 public key has small order')
}

/** Verifies signatures by node id; remembers the last keys it has checked. */
export class SignatureVerifier {
  readonly #keys = new Map<NodeId, KeyObject>()
  readonly #capacity: number

  /** @param capacity - how many keys to remember; 10 000 is the design size of one mesh */
  constructor(capacity = 10_000) {
    this.#capacity = capacity
  }

  /** Whether this node signed this message for this purpose. False for an unusable key; never throws on peer input. */
  verify(signer: NodeId, domain: SignatureDomain, message: Uint8Array, signature: Uint8Array): boolean {
    if (signature.byteLength !== signatureBytes) return false
    const key = this.#keyOf(signer)
    return key !== undefined && verifyBytes(null, withDomain(domain, message), key, signature)
  }

  #keyOf(signer: NodeId): KeyObject | undefined {
    const known = this.#keys.get(signer)
    if (known !== undefined) return known
    try {
      const publicKey = publicKeyOf(signer)
      assertStrictPublicKey(publicKey)
      const key = createPublicKey({ key: Buffer.concat([spkiPrefix, publicKey]), format: 'der', type: 'spki' })
      this.#remember(signer, key)
      return key
    } catch {
      return undefined
    }
  }

  #remember(signer: NodeId, key: KeyObject): void {
    const oldest = this.#keys.size >= this.#capacity ? this.#keys.keys().next().value : undefined
    if (oldest !== undefined) this.#keys.delete(oldest)
    this.#keys.set(signer, key)
  }
}
