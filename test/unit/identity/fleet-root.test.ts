import { describe, expect, test } from 'vitest'
import { encode } from '../../../src/core/codec.js'
import { errorCode, messageOf } from '../../../src/core/errors.js'
import type { NodeId } from '../../../src/core/ids.js'
import { authorityOf } from '../../../src/identity/authority.js'
import {
  addSignature,
  createRoot,
  decodeSignedRoot,
  draftNext,
  encodeSignedRoot,
  fleetIdOf,
  maxSignedRootBytes,
  parseFleetId,
  rootHash,
  verifyChain,
  verifyNext,
  type FleetRoot,
  type SignedRoot
} from '../../../src/identity/fleet-root.js'
import { sign } from '../../../src/identity/signature.js'
import { firstRoot, idsOf, nextRoot, rootKey, signedBy } from '../../support/fleet-roots.js'
import { caught } from '../core/caught.js'
import { keyPairOf } from '../record/fixtures.js'

const first = await firstRoot()
const fleetId = fleetIdOf(first)
const keys = async (...numbers: number[]): Promise<NodeId[]> =>
  Promise.all(numbers.map(async (number) => (await rootKey(number)).nodeId))
const refusal = (next: SignedRoot, current = first): string => messageOf(caught(() => verifyNext(current, next)))
/** 2048 ids in the right form and order, with 8 characters in which they differ. */
const manyIds = (count: number, from = 0): NodeId[] => {
  const letters = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
  const digit = (value: number): string => letters[value % 58] ?? ''
  return Array.from({ length: count }, (_, at) => {
    const value = at + from
    return `12D3KooW${'1'.repeat(41)}${digit(Math.floor(value / 3364))}${digit(Math.floor(value / 58))}${digit(value)}` as NodeId
  })
}

/** The same DAG-CBOR with a time of so many ms as a float. */
const asFloat = (bytes: Uint8Array, issuedAt: number): Uint8Array => {
  const at = Buffer.from(bytes).indexOf('issuedAt') + 'issuedAt'.length
  const float = Buffer.alloc(9, 0xfb)
  float.writeDoubleBE(issuedAt, 1)
  return Buffer.concat([bytes.subarray(0, at), float, bytes.subarray(at + 1)])
}

describe('form', () => {
  test('[ROOT-1] a signed root comes back whole from its bytes, and whoever drafts the same gets the same bytes', async () => {
    const ids = await idsOf(3, 1, 2)
    const one = await nextRoot(first, { operators: ids, publishers: ids.slice(1), expires: 5000 })
    const other = draftNext(first.root, {
      operators: ids.toReversed(),
      publishers: ids.slice(1),
      expires: 5000,
      issuedAt: 2000
    })
    const back = decodeSignedRoot(encodeSignedRoot(one))
    expect(back.root).toEqual(one.root)
    expect(encodeSignedRoot(back)).toEqual(encodeSignedRoot(one))
    expect(other.bytes).toEqual(one.bytes)
    expect(back.root.operators).toEqual(ids.toSorted((a, b) => (a < b ? -1 : 1)))
  })

  test('[ROOT-1] what a root does not say again stays, but for the expiry', async () => {
    const second = await nextRoot(first, { operators: await idsOf(1), expires: 9 })
    expect(draftNext(second.root, { issuedAt: 3 }).root).toEqual({
      ...second.root,
      version: 3,
      issuedAt: 3,
      expires: undefined
    })
  })

  test.each<[string, (ids: readonly NodeId[]) => Partial<FleetRoot>]>([
    ['no key', () => ({ keys: [] })],
    ['a key twice', (ids) => ({ keys: [...ids.slice(0, 1), ...ids.slice(0, 1)] })],
    ['17 keys', () => ({ keys: manyIds(17) })],
    ['a key that is none', () => ({ keys: [`12D3KooW${'z'.repeat(44)}` as NodeId] })],
    ['a threshold above the number of keys', () => ({ threshold: 2 })],
    ['a threshold of 0', () => ({ threshold: 0 })],
    ['a release threshold of 0', () => ({ releaseThreshold: 0 })],
    ['a release threshold above 256', () => ({ releaseThreshold: 257 })],
    ['an operator twice', (ids) => ({ operators: [...ids, ...ids] })],
    ['a member that is no node id', () => ({ members: ['nobody'] as unknown as NodeId[] })],
    ['more than 2048 ids', () => ({ operators: manyIds(2000), revoked: manyIds(49, 2000) })],
    ['a time before 1970', () => ({ issuedAt: -1 })],
    ['a fraction of a millisecond', () => ({ expires: 0.5 })],
    ['a field that nobody knows', () => ({ owner: 'me' }) as object],
    ['members that are neither open nor a list', () => ({ members: 'closed' as 'open' })]
  ])('[ROOT-1] a root with %s is refused', async (_what, changes) => {
    const ids = await idsOf(1, 2)
    expect(errorCode(caught(() => draftNext(first.root, { issuedAt: 1, ...changes(ids) })))).toBe('INVALID_REQUEST')
    const raw = { ...first.root, ...changes(ids) }
    expect(errorCode(caught(() => decodeSignedRoot(encode([encode(raw), []]))))).toBe('MALFORMED')
  })

  test('[ROOT-1] a revoked key cannot be a root key', () => {
    const attempt = (): unknown => draftNext(first.root, { revoked: first.root.keys, issuedAt: 1 })
    expect(messageOf(caught(attempt))).toContain('a revoked key cannot sign')
  })

  test('[ROOT-1] the largest root stays below 128 KiB, and a larger input is refused unread', async () => {
    const numbers = Array.from({ length: 16 }, (_, at) => at)
    const big = await firstRoot({ keys: await keys(...numbers), threshold: 16, operators: manyIds(2048) }, ...numbers)
    const newKeys = Array.from({ length: 16 }, (_, at) => 16 + at)
    const next = await nextRoot(big, { keys: await keys(...newKeys) }, ...numbers, ...newKeys)
    const bytes = encodeSignedRoot(next)
    expect(bytes.byteLength).toBeLessThan(maxSignedRootBytes)
    expect(bytes.byteLength).toBeGreaterThan(0.8 * maxSignedRootBytes)
    expect(() => verifyNext(big, decodeSignedRoot(bytes))).not.toThrow()
    expect(messageOf(caught(() => decodeSignedRoot(new Uint8Array(maxSignedRootBytes + 1))))).toContain('the limit is')
  })

  test('[ROOT-1] bytes that are not canonical are refused', async () => {
    const { signatures, root } = await signedBy(
      draftNext(first.root, { operators: await idsOf(1, 2), issuedAt: 1 }),
      0,
      1
    )
    const pairs = signatures.map(({ key, signature }) => [key, signature])
    const forms = [
      [encode({ ...root, operators: root.operators.toReversed() }), pairs],
      [encode(root), pairs.toReversed()],
      [encode(root), [...pairs, ...pairs.slice(1)]],
      [encode(root), pairs.map(([key]) => [key, new Uint8Array(63)])],
      [encode(root), pairs, 1],
      [encode({ ...root, issuedAt: 'now' }), pairs],
      [encode(root).slice(0, -1), pairs],
      [asFloat(encode(root), 1), pairs]
    ]
    expect(forms.map((form) => errorCode(caught(() => decodeSignedRoot(encode(form)))))).toEqual(
      forms.map(() => 'MALFORMED')
    )
  })
})

describe('who may change it', () => {
  test('[ROOT-3] a fleet is named by its first root, which its own keys must have signed', async () => {
    expect(parseFleetId(` ${fleetId}\n`)).toBe(fleetId)
    expect(verifyChain(fleetId, [first])).toBe(first)
    const other = await firstRoot({ issuedAt: 2 })
    expect(messageOf(caught(() => verifyChain(fleetId, [other])))).toContain('this fleet is')
    const draft = createRoot({ ...first.root })
    for (const unsigned of [draft, await signedBy(draft, 1)]) {
      expect(fleetIdOf(unsigned)).toBe(fleetId)
      expect(errorCode(caught(() => verifyChain(fleetId, [unsigned])))).toBe('ROOT_REFUSED')
    }
    expect(errorCode(caught(() => verifyChain(fleetId, [])))).toBe('ROOT_REFUSED')
    const second = await nextRoot(first, {})
    expect(errorCode(caught(() => verifyChain(fleetIdOf(second), [second])))).toBe('ROOT_REFUSED')
  })

  test.each(['', 'murmurate-fleet-1:', `${fleetId}A`, fleetId.slice(0, -1), fleetId.replace('fleet', 'secret'), 5])(
    '[ROOT-3] %j is no fleet id',
    (text) => {
      expect(errorCode(caught(() => parseFleetId(text)))).toBe('INVALID_REQUEST')
    }
  )

  test('[ROOT-2] the next root needs the threshold of the old keys and that of the new ones', async () => {
    const both = { keys: await keys(1, 2), threshold: 2 }
    expect(refusal(await nextRoot(first, both, 1, 2))).toContain('0 of the 1 keys that version 1 asks for')
    expect(refusal(await nextRoot(first, both, 0, 1))).toContain('1 of the 2 keys that version 2 asks for')
    const second = await nextRoot(first, both, 0, 1, 2)
    verifyNext(first, second)
    expect(refusal(await nextRoot(second, { operators: await idsOf(1) }, 1), second)).toContain('1 of the 2')
    verifyNext(second, await nextRoot(second, { operators: await idsOf(1) }, 1, 2))
    expect(refusal(await nextRoot(second, { keys: await keys(0), threshold: 1 }, 0), second)).toContain('0 of the 2')
  })

  test('[ROOT-2] a key counts once, however often it signs', async () => {
    const founded = await firstRoot({ keys: await keys(0, 1), threshold: 2 }, 0, 1)
    const once = await nextRoot(founded, {}, 0)
    const twice = { ...once, signatures: [...once.signatures, ...once.signatures] }
    expect(refusal(await signedBy(once, 0), founded)).toContain('1 of the 2')
    expect(errorCode(caught(() => decodeSignedRoot(encodeSignedRoot(twice))))).toBe('MALFORMED')
  })

  test('[ROOT-2] versions follow each other without a gap', async () => {
    const second = await nextRoot(first, {})
    const third = await nextRoot(second, {})
    expect(refusal(third)).toContain('version 2 is expected, this is 3')
    expect(refusal(first)).toContain('version 2 is expected, this is 1')
    expect(refusal(second, second)).toContain('version 3 is expected')
    expect(messageOf(caught(() => verifyChain(fleetId, [first, third])))).toContain('version 2 is expected')
    expect(verifyChain(fleetId, [first, second, third])).toBe(third)
  })

  test('[ROOT-2] signatures of keys that are no root keys, or for another purpose, are refused', async () => {
    expect(refusal(await nextRoot(first, {}, 0, 5))).toContain('is no root key')
    const draft = draftNext(first.root, { issuedAt: 2 })
    const keyPair = await rootKey(0)
    const foreign = { key: keyPair.nodeId, signature: sign(keyPair, 'murmurate/entry/1', draft.bytes) }
    expect(refusal({ ...draft, signatures: [foreign] })).toContain('is not one of this root')
    expect(errorCode(caught(() => addSignature(draft, foreign)))).toBe('ROOT_REFUSED')
  })

  test('[ROOT-2] signatures made in different places come together in any order', async () => {
    const founded = await firstRoot({ keys: await keys(0, 1, 2), threshold: 3 }, 0, 1, 2)
    const draft = draftNext(founded.root, { issuedAt: 2 })
    const parts = await Promise.all([2, 0, 1].map((number) => signedBy(draft, number)))
    const signed = parts.flatMap(({ signatures }) => signatures).reduce(addSignature, draft)
    expect(signed).toEqual(await signedBy(draft, 0, 1, 2))
    verifyNext(founded, signed)
  })
})

describe('what it allows', () => {
  test('[ROOT-5] roles are those on the lists, and whoever has one is a member', async () => {
    const [operator, publisher, member, stranger] = (await idsOf(1, 2, 3, 4)) as [NodeId, NodeId, NodeId, NodeId]
    const lists = { operators: [operator], publishers: [publisher], members: [member], releaseThreshold: 2 }
    const closed = authorityOf(await nextRoot(first, lists))
    const open = authorityOf(await nextRoot(first, { ...lists, members: 'open' }))
    const all = [operator, publisher, member, stranger]
    expect(all.map((id) => closed.isMember(id))).toEqual([true, true, true, false])
    expect(all.map((id) => open.isMember(id))).toEqual([true, true, true, true])
    expect(all.map((id) => closed.hasRole(id, 'operator'))).toEqual([true, false, false, false])
    expect(all.map((id) => open.hasRole(id, 'publisher'))).toEqual([false, true, false, false])
    expect([closed.releaseThreshold, authorityOf(first).releaseThreshold]).toEqual([2, 1])
  })

  test('[ROOT-5] whoever is revoked has no right, whatever the other lists say', async () => {
    const ids = await idsOf(1)
    const lists = { operators: ids, publishers: ids, members: ids, revoked: ids }
    for (const root of [await nextRoot(first, lists), await nextRoot(first, { ...lists, members: 'open' })]) {
      const authority = authorityOf(root)
      expect(
        ids.flatMap((id) => [
          authority.isMember(id),
          authority.hasRole(id, 'operator'),
          authority.hasRole(id, 'publisher')
        ])
      ).toEqual([false, false, false])
    }
  })

  test('[ROOT-6] without a root nobody has any right', async () => {
    const { nodeId } = await keyPairOf(1)
    const none = authorityOf(undefined)
    expect([none.isMember(nodeId), none.hasRole(nodeId, 'operator'), none.hasRole(nodeId, 'publisher')]).toEqual([
      false,
      false,
      false
    ])
    expect(new Set([none.id, authorityOf(first).id, authorityOf(await nextRoot(first, {})).id]).size).toBe(3)
    expect(authorityOf(first).id).toBe(rootHash(first))
  })
})
