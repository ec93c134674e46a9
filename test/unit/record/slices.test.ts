import fc from 'fast-check'
import { expect, test } from 'vitest'
import { shortDigest } from '../../../src/record/comparison.js'
import {
  cutIntoSlices,
  differingSlices,
  sliceBitsFor,
  sliceDigests,
  sliceOf,
  type Row
} from '../../../src/record/slices.js'

const salt = new Uint8Array(8).fill(1)
const row = fc.record({
  client: fc.nat(Number.MAX_SAFE_INTEGER),
  clock: fc.nat(Number.MAX_SAFE_INTEGER),
  valueHash: fc.uint8Array({ minLength: 32, maxLength: 32 })
})
const rows = fc.uniqueArray(row, { selector: ({ client }) => client, maxLength: 40 })
const digestsOf = (of: readonly Row[], bits: number, with_ = salt): Uint8Array =>
  sliceDigests(cutIntoSlices(of, bits), bits, with_)

test('[REC-51] the slices that differ are those of the writers that differ, in whatever order they are held', () => {
  fc.assert(
    fc.property(rows, fc.nat(39), fc.integer({ min: 0, max: 6 }), (held, at, bits) => {
      const changed = held
        .map((each, number) => (number === at ? { ...each, clock: each.clock === 0 ? 1 : each.clock - 1 } : each))
        .reverse()
      const expected = held[at] === undefined ? [] : [sliceOf(held[at].client, bits)]
      expect(differingSlices(digestsOf(held, bits), digestsOf(changed, bits))).toEqual(expected)
    })
  )
})

test('[REC-51] a page is cut so that a slice has at most 4 writers on average, into 2^14 slices at most', () => {
  expect([0, 1, 4, 5, 157, 10_000, 1e9].map(sliceBitsFor)).toEqual([0, 0, 0, 1, 6, 12, 14])
})

test('[REC-51] digests of pages and slices follow the salt, so that a chance collision does not last', () => {
  const other = new Uint8Array(8).fill(2)
  const digest = new Uint8Array(16)
  const held: Row[] = [{ client: 5, clock: 1, valueHash: new Uint8Array(32) }]
  expect(shortDigest(digest, salt)).not.toEqual(shortDigest(digest, other))
  expect(digestsOf(held, 0)).not.toEqual(digestsOf(held, 0, other))
})
