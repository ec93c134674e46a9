import { verifyAsync, signAsync } from '@noble/ed25519'
import { expect, test } from 'vitest'
import type { NodeId } from '../../../src/core/ids.js'
import { ephemeralKeyPair, keyPairFromSeed } from '../../../src/identity/keypair.js'
import { nodeIdOf } from '../../../src/identity/node-id.js'
import {
  assertStrictPublicKey,
  sign,
  SignatureVerifier,
  type SignatureDomain
} from '../../../src/identity/signature.js'
import { caught } from '../core/caught.js'
import { seededRandom } from '../../support/virtual-clock.js'

const random = seededRandom(11)
const entryDomain: SignatureDomain = 'murmurate/entry/1'
const underSignature = (domain: SignatureDomain, message: Uint8Array): Uint8Array =>
  new Uint8Array(Buffer.concat([Buffer.from(`${domain}\0`), message]))
const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))

/** Points of small order and encodings that are not canonical: https://eprint.iacr.org/2020/1244, table 6, and y = p - 1. */
const weakKeys = [
  '0100000000000000000000000000000000000000000000000000000000000000',
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0000000000000000000000000000000000000000000000000000000000000080',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
  '0100000000000000000000000000000000000000000000000000000000000080',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff'
]

test('[ID-6] node:crypto and noble make the same signatures and accept each other', async () => {
  const verifier = new SignatureVerifier()
  for (const length of [0, 1, 31, 64, 1000]) {
    const pair = await keyPairFromSeed(random.bytes(32))
    const message = random.bytes(length)
    const signature = sign(pair, entryDomain, message)
    const signed = underSignature(entryDomain, message)
    expect(signature).toEqual(await signAsync(signed, pair.seed))
    expect(await verifyAsync(signature, signed, pair.publicKey, { zip215: false })).toBe(true)
    expect(verifier.verify(pair.nodeId, entryDomain, message, signature)).toBe(true)
  }
})

test('[ID-6] both refuse every signature with one bit turned', async () => {
  const verifier = new SignatureVerifier()
  const pair = await ephemeralKeyPair(random)
  const message = random.bytes(40)
  const signature = sign(pair, entryDomain, message)
  for (let bit = 0; bit < 512; bit++) {
    const turned = Uint8Array.from(signature, (byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte))
    expect(verifier.verify(pair.nodeId, entryDomain, message, turned), `bit ${bit}`).toBe(false)
  }
  for (const bit of [0, 255, 256, 511]) {
    const turned = Uint8Array.from(signature, (byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte))
    const verdict = verifyAsync(turned, underSignature(entryDomain, message), pair.publicKey, { zip215: false })
    expect(await verdict.catch(() => false)).toBe(false)
  }
})

test('[ID-6] a signature has one form: S + L is refused by both', async () => {
  const pair = await ephemeralKeyPair(random)
  const message = random.bytes(8)
  const signature = sign(pair, entryDomain, message)
  const order = 2n ** 252n + 27742317777372353535851937790883648493n
  let scalar = order
  for (let at = 0; at < 32; at++) scalar += BigInt(signature[32 + at] ?? 0) << BigInt(8 * at)
  const other = Uint8Array.from(signature, (byte, at) =>
    at < 32 ? byte : Number((scalar >> BigInt(8 * (at - 32))) & 255n)
  )
  expect(new SignatureVerifier().verify(pair.nodeId, entryDomain, message, other)).toBe(false)
  expect(await verifyAsync(other, underSignature(entryDomain, message), pair.publicKey).catch(() => false)).toBe(false)
})

test.each(weakKeys)('[ID-7] the weak key %s is refused', (text) => {
  expect(caught(() => assertStrictPublicKey(hex(text)))?.code).toBe('MALFORMED')
  const forged = new Uint8Array(64)
  forged[0] = 1
  expect(new SignatureVerifier().verify(nodeIdOf(hex(text)), entryDomain, random.bytes(4), forged)).toBe(false)
})

test('a point that is not on the curve is no key', () => {
  expect(caught(() => assertStrictPublicKey(hex(`02${'00'.repeat(31)}`)))?.code).toBe('MALFORMED')
  expect(caught(() => assertStrictPublicKey(new Uint8Array(31)))?.code).toBe('MALFORMED')
})

test('[ID-8] a signature made for one purpose is worth nothing for another', async () => {
  const pair = await ephemeralKeyPair(random)
  const message = random.bytes(20)
  const verifier = new SignatureVerifier()
  expect(verifier.verify(pair.nodeId, 'murmurate/pulse/1', message, sign(pair, entryDomain, message))).toBe(false)
  expect(verifier.verify(pair.nodeId, entryDomain, message, sign(pair, 'murmurate/pulse/1', message))).toBe(false)
})

test("verify is false, and does not throw, for another's key, another message, and what is no signature or no id", async () => {
  const [one, two] = [await ephemeralKeyPair(random), await ephemeralKeyPair(random)]
  const message = random.bytes(20)
  const signature = sign(one, entryDomain, message)
  const verifier = new SignatureVerifier()
  expect(verifier.verify(two.nodeId, entryDomain, message, signature)).toBe(false)
  expect(verifier.verify(one.nodeId, entryDomain, random.bytes(20), signature)).toBe(false)
  for (const length of [0, 63, 65]) {
    expect(verifier.verify(one.nodeId, entryDomain, message, new Uint8Array(length))).toBe(false)
  }
  expect(verifier.verify('no id 0OIl' as NodeId, entryDomain, message, signature)).toBe(false)
})

test('it remembers only so many keys and still verifies the rest', async () => {
  const verifier = new SignatureVerifier(2)
  const pairs = await Promise.all(Array.from({ length: 5 }, () => ephemeralKeyPair(random)))
  for (const pair of [...pairs, ...pairs]) {
    expect(verifier.verify(pair.nodeId, entryDomain, pair.publicKey, sign(pair, entryDomain, pair.publicKey))).toBe(
      true
    )
  }
})
