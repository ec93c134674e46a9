import { expect, test } from 'vitest'
import * as dagCbor from '@ipld/dag-cbor'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'
import {
  blockLink,
  cidFromBytes,
  cidOf,
  cidToBytes,
  codecOf,
  digestIn,
  digestOf,
  linkOf,
  matches
} from '../../../src/blobs/cid.js'
import { parseCid } from '../../../src/core/ids.js'

const bytes = Buffer.from('murmurate')

test('identifiers are those of the multiformats library', async () => {
  const digest = await sha256.digest(bytes)
  expect(cidOf(bytes)).toBe(CID.createV1(0x71, digest).toString())
  expect(cidOf(bytes, 'raw')).toBe(CID.createV1(0x55, digest).toString())
  expect([codecOf(cidOf(bytes)), codecOf(cidOf(bytes, 'raw'))]).toEqual(['dag-cbor', 'raw'])
})

test('text and bytes are two forms of the same', () => {
  const cid = cidOf(bytes)
  expect(cidFromBytes(cidToBytes(cid))).toBe(cid)
  expect(Buffer.compare(digestIn(cid), digestOf(bytes))).toBe(0)
})

test('only the bytes themselves match', () => {
  expect(matches(cidOf(bytes), bytes)).toBe(true)
  expect(matches(cidOf(bytes), Buffer.from('murmuratf'))).toBe(false)
})

test('other codecs, hashes and versions are refused', () => {
  const raw = cidToBytes(cidOf(bytes))
  for (const [at, value] of [
    [0, 0],
    [1, 0x70],
    [2, 0x1e],
    [3, 31]
  ] as const) {
    expect(() => cidFromBytes(raw.with(at, value))).toThrow(expect.objectContaining({ code: 'MALFORMED' }))
  }
  expect(() => cidToBytes(parseCid(`b${'7'.repeat(58)}`))).toThrow(expect.objectContaining({ code: 'MALFORMED' }))
})

test('a link survives a block, and only links to our own blocks count', () => {
  const decoded: unknown = dagCbor.decode(dagCbor.encode({ link: linkOf(cidOf(bytes)) }))
  expect(blockLink((decoded as { link: unknown }).link)).toBe(cidOf(bytes))
  expect(blockLink(linkOf(cidOf(bytes, 'raw')))).toBeUndefined()
  expect(blockLink('text')).toBeUndefined()
  expect(blockLink(CID.parse('QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG'))).toBeUndefined()
})
