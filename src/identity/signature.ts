import { createPublicKey, sign as signBytes, verify as verifyBytes, type KeyObject } from 'node:crypto'
import { MurmurateError } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { KeyPair } from './keypair.js'
import { publicKeyOf } from './node-id.js'

/** Bytes of an Ed25519 signature. */
export const signatureBytes = 64

/** What a signature is for; goes under it, so that one made for one purpose is worth nothing for another. */
export type SignatureDomain =
  | 'murmurate/entry/1'
  | 'murmurate/join/1'
  | 'murmurate/presence/1'
  | 'murmurate/pulse/1'
  | 'murmurate/root/1'

/** Something that a node is said to have signed. */
export interface SignedClaim {
  readonly signer: NodeId
  readonly domain: SignatureDomain
  readonly message: Uint8Array
  readonly signature: Uint8Array
}

/**
 * Verifications that wait for the thread pool at a time. Its threads (4 unless told otherwise) never run dry, and no more than
 * this many have to end before a node can stop: some 15 ms.
 */
const maxInFlight = 256
/** Fewer are verified at once: to hand one to another thread and back costs a fifth of it. */
const fewClaims = 8

/** How a verifier works. */
export interface VerifierInit {
  /** How many keys to remember; 10 000 is the design size of one mesh. @default 10000 */
  readonly capacity?: number
  /** Everything is done at once and nothing on other threads, so that nothing depends on their speed. @default false */
  readonly isSequential?: boolean
}

function withDomain(domain: SignatureDomain, message: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`${domain}\0`), message])
}

/** Signs a message for one purpose. */
export function sign(keyPair: KeyPair, domain: SignatureDomain, message: Uint8Array): Uint8Array {
  return new Uint8Array(signBytes(null, withDomain(domain, message), keyPair.privateKey))
}

const publicKeyBytes = 32
/** The y coordinates of the eight points of small order: 0, 1, -1 and those of the four points of order 8, in hexadecimal, lowest byte first. */
const smallOrder: ReadonlySet<string> = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a'
])

/**
 * Refuses keys for which signatures can be made without the secret: points of small order, and second encodings of a point,
 * which would be a second name of one node. `node:crypto` takes them, so each key goes through here before its first
 * verification. Looks at the bytes alone, as libsodium does (`ge25519_has_small_order`, `ge25519_is_canonical`): 100 times
 * faster than computing with the point. Bytes that are no point at all pass, and verify nothing.
 *
 * @throws MurmurateError `MALFORMED`
 */
export function assertStrictPublicKey(publicKey: Uint8Array): void {
  if (publicKey.byteLength !== publicKeyBytes) {
    throw new MurmurateError('MALFORMED', `An Ed25519 public key has 32 bytes, not ${publicKey.byteLength}`)
  }
  const y = Buffer.from(publicKey)
  // The highest bit is the sign of x, which the points of small order can have either way.
  y[31] = (y[31] ?? 0) & 0x7f
  if (!isBelowPrime(y)) throw new MurmurateError('MALFORMED', 'The Ed25519 public key is not canonical')
  if (smallOrder.has(y.toString('hex'))) throw new MurmurateError('MALFORMED', 'The Ed25519 public key has small order')
}

/** Whether a number of 255 bits, lowest byte first, is below 2^255 - 19. */
function isBelowPrime(y: Uint8Array): boolean {
  return y[31] !== 0x7f || (y[0] ?? 0) < 0xed || y.subarray(1, 31).some((byte) => byte !== 0xff)
}

/** What is remembered of a node id. */
interface KnownKey {
  readonly publicKey: Uint8Array
  /** Once something was verified with it. */
  readonly key?: KeyObject
}

/** Verifies signatures by node id; remembers the last keys it has checked. */
export class SignatureVerifier {
  readonly #keys = new Map<NodeId, KnownKey>()
  readonly #capacity: number
  readonly #isSequential: boolean

  constructor({ capacity = 10_000, isSequential = false }: VerifierInit = {}) {
    this.#capacity = capacity
    this.#isSequential = isSequential
  }

  /** Whether this node signed this message for this purpose. False for an unusable key; never throws on peer input. */
  verify(signer: NodeId, domain: SignatureDomain, message: Uint8Array, signature: Uint8Array): boolean {
    const key = this.#keyFor(signer, signature)
    return key !== undefined && verifyBytes(null, withDomain(domain, message), key, signature)
  }

  /**
   * The same for many claims at once, on the thread pool of `node:crypto`: the verdicts in the order of the claims. Gives up
   * with the reason of the signal when that is aborted.
   */
  async verifyAll(claims: readonly SignedClaim[], signal?: AbortSignal): Promise<boolean[]> {
    if (this.#isSequential || claims.length < fewClaims) {
      return claims.map(({ signer, domain, message, signature }) => this.verify(signer, domain, message, signature))
    }
    const verdicts: boolean[] = []
    const entries = claims.entries()
    const lane = async (): Promise<void> => {
      for (const [at, claim] of entries) {
        signal?.throwIfAborted()
        verdicts[at] = await this.#verifyAside(claim)
      }
    }
    await Promise.all(Array.from({ length: Math.min(maxInFlight, claims.length) }, lane))
    return verdicts
  }

  #verifyAside({ signer, domain, message, signature }: SignedClaim): Promise<boolean> | boolean {
    const key = this.#keyFor(signer, signature)
    if (key === undefined) return false
    return new Promise((resolve) => {
      verifyBytes(null, withDomain(domain, message), key, signature, (error, isRight) =>
        resolve(error === null && isRight)
      )
    })
  }

  #keyFor(signer: NodeId, signature: Uint8Array): KeyObject | undefined {
    return signature.byteLength === signatureBytes ? this.#keyOf(signer) : undefined
  }

  #keyOf(signer: NodeId): KeyObject | undefined {
    const known = this.#keys.get(signer)
    if (known?.key !== undefined) return known.key
    try {
      const publicKey = this.publicKeyOf(signer)
      assertStrictPublicKey(publicKey)
      const key = importKey(publicKey)
      this.#remember(signer, { publicKey, key })
      return key
    } catch {
      return undefined
    }
  }

  /**
   * The key that a node id is made of; remembered too.
   *
   * @throws MurmurateError `MALFORMED` when the id is of another kind of key
   */
  publicKeyOf(nodeId: NodeId): Uint8Array {
    const known = this.#keys.get(nodeId)
    if (known !== undefined) return known.publicKey
    const publicKey = publicKeyOf(nodeId)
    this.#remember(nodeId, { publicKey })
    return publicKey
  }

  #remember(nodeId: NodeId, keys: KnownKey): void {
    const isFull = this.#keys.size >= this.#capacity && !this.#keys.has(nodeId)
    const oldest = isFull ? this.#keys.keys().next().value : undefined
    if (oldest !== undefined) this.#keys.delete(oldest)
    this.#keys.set(nodeId, keys)
  }
}

/** As a JSON Web Key: OpenSSL takes ten times as long to find its way through DER (79 us against 7). */
function importKey(publicKey: Uint8Array): KeyObject {
  const x = Buffer.from(publicKey).toString('base64url')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
}
