import { Point, signAsync, verifyAsync } from '@noble/ed25519'
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

test('a point that is not on the curve verifies nothing, and other lengths are no keys', () => {
  const offCurve = hex(`02${'00'.repeat(31)}`)
  expect(new SignatureVerifier().verify(nodeIdOf(offCurve), entryDomain, random.bytes(4), new Uint8Array(64))).toBe(
    false
  )
  for (const length of [0, 31, 33]) {
    expect(caught(() => assertStrictPublicKey(new Uint8Array(length)))?.code).toBe('MALFORMED')
  }
})

/** What the curve itself says of a key. */
function isStrictByNoble(key: Uint8Array): boolean | 'off the curve' {
  try {
    return !Point.fromBytes(key, false).isSmallOrder()
  } catch {
    try {
      // With ZIP 215's rules a second encoding of a point is a point.
      Point.fromBytes(key, true)
      return false
    } catch {
      return 'off the curve'
    }
  }
}

test('[ID-7] the check of the bytes says what noble computes, for points of every order and every second encoding', async () => {
  const torsion = Point.fromBytes(hex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'))
  const honest = await Promise.all(Array.from({ length: 20 }, () => ephemeralKeyPair(random)))
  const points = honest.map(({ publicKey }) => Point.fromBytes(publicKey))
  const keys = [
    ...weakKeys.map(hex),
    ...points.map((point) => point.toBytes()),
    // Of mixed order: a point of the main group and one of small order together.
    ...points.map((point, at) => point.add(torsion.multiply(BigInt((at % 7) + 1), false)).toBytes()),
    ...Array.from({ length: 8 }, (_, at) => (at === 0 ? Point.ZERO : torsion.multiply(BigInt(at), false)).toBytes()),
    // The 19 numbers from p to 2^255 - 1 are the second encodings, with either sign of x; and those just below p.
    ...[0x7f, 0xff].flatMap((top) =>
      Array.from({ length: 40 }, (_, at) => Uint8Array.of(0xff - at, ...new Uint8Array(30).fill(0xff), top))
    ),
    ...Array.from({ length: 200 }, () => random.bytes(32))
  ]
  const verdicts = new Set<boolean | string>()
  for (const key of keys) {
    const expected = isStrictByNoble(key)
    const isTaken = caught(() => assertStrictPublicKey(key)) === undefined
    verdicts.add(expected)
    if (expected !== 'off the curve') expect(isTaken, Buffer.from(key).toString('hex')).toBe(expected)
    else
      expect(new SignatureVerifier().verify(nodeIdOf(key), entryDomain, random.bytes(4), new Uint8Array(64))).toBe(
        false
      )
  }
  expect(verdicts.size).toBe(3)
})

test('[ID-6] many claims at once have the verdicts of one by one, in order', async () => {
  const pairs = await Promise.all(Array.from({ length: 10 }, () => ephemeralKeyPair(random)))
  const claims = Array.from({ length: 700 }, (_, at) => {
    const pair = pairs[at % 10] ?? expect.unreachable()
    const message = random.bytes(30)
    const signature = sign(pair, entryDomain, at % 7 === 0 ? random.bytes(30) : message)
    return {
      signer: pair.nodeId,
      domain: entryDomain,
      message,
      signature: at % 11 === 0 ? signature.slice(1) : signature
    }
  })
  const verdicts = await new SignatureVerifier({ capacity: 4 }).verifyAll(claims)
  expect(verdicts).toEqual(claims.map((_, at) => at % 7 !== 0 && at % 11 !== 0))
})

test('many claims at once are given up when the signal says so', async () => {
  const pair = await ephemeralKeyPair(random)
  const message = random.bytes(30)
  const claim = { signer: pair.nodeId, domain: entryDomain, message, signature: sign(pair, entryDomain, message) }
  const abort = new AbortController()
  const verifying = new SignatureVerifier().verifyAll(
    Array.from({ length: 5000 }, () => claim),
    abort.signal
  )
  abort.abort(new Error('enough'))
  await expect(verifying).rejects.toThrow('enough')
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
  const verifier = new SignatureVerifier({ capacity: 2 })
  const pairs = await Promise.all(Array.from({ length: 5 }, () => ephemeralKeyPair(random)))
  for (const pair of [...pairs, ...pairs]) {
    expect(verifier.verify(pair.nodeId, entryDomain, pair.publicKey, sign(pair, entryDomain, pair.publicKey))).toBe(
      true
    )
  }
})
