import { encode as encodeRaw } from '@ipld/dag-cbor'
import { beforeAll, expect, test } from 'vitest'
import { encode } from '../../../src/core/codec.js'
import { parsePageId } from '../../../src/core/ids.js'
import type { KeyPair } from '../../../src/identity/keypair.js'
import { SignatureVerifier } from '../../../src/identity/signature.js'
import { clientIdOf, maxEntryBytes, openEntry, sealEntry, verifyEntry } from '../../../src/record/entry.js'
import { caught } from '../core/caught.js'
import { readText } from '../docs/documents.js'
import { keyPairOf, notePage } from './fixtures.js'

const verifier = new SignatureVerifier()
const content = { epoch: 3, issuedAt: 1_750_000_000_000, body: encode({ text: 'hello' }) }
let pair: KeyPair
let other: KeyPair

beforeAll(async () => {
  pair = await keyPairOf(0)
  other = await keyPairOf(1)
})

test('an entry opens to what was sealed, and its writer signed it', () => {
  const position = { page: notePage, writer: pair.nodeId, seq: 7 }
  const sealed = openEntry(sealEntry(pair, position, content))
  expect(sealed).toMatchObject(content)
  expect(verifyEntry(verifier, position, sealed)).toBe(true)
})

test('[REC-5] the signature binds page, writer, clock, epoch, time and body', () => {
  const position = { page: notePage, writer: pair.nodeId, seq: 7 }
  const sealed = openEntry(sealEntry(pair, position, content))
  expect(verifyEntry(verifier, { ...position, page: parsePageId('note/b') }, sealed)).toBe(false)
  expect(verifyEntry(verifier, { ...position, writer: other.nodeId }, sealed)).toBe(false)
  expect(verifyEntry(verifier, { ...position, seq: 8 }, sealed)).toBe(false)
  expect(verifyEntry(verifier, position, { ...sealed, epoch: 4 })).toBe(false)
  expect(verifyEntry(verifier, position, { ...sealed, issuedAt: sealed.issuedAt + 1 })).toBe(false)
  expect(verifyEntry(verifier, position, { ...sealed, body: encode({ text: 'hallo' }) })).toBe(false)
})

test.each<[string, unknown]>([
  ['not a list', { epoch: 1 }],
  ['too few fields', [1, 1, new Uint8Array()]],
  ['too many fields', [1, 1, new Uint8Array(), new Uint8Array(64), 1]],
  ['a negative epoch', [-1, 1, new Uint8Array(), new Uint8Array(64)]],
  ['a fraction', [0.5, 1, new Uint8Array(), new Uint8Array(64)]],
  ['a short signature', [1, 1, new Uint8Array(), new Uint8Array(63)]],
  ['a body that is no bytes', [1, 1, 'body', new Uint8Array(64)]]
])('a value with %s is MALFORMED', (_, value) => {
  expect(caught(() => openEntry(encodeRaw(value)))?.code).toBe('MALFORMED')
})

test('[REC-6] one signature has one value: another encoding of the same fields is MALFORMED', () => {
  const value = sealEntry(pair, { page: notePage, writer: pair.nodeId, seq: 0 }, { ...content, epoch: 1 })
  // The second byte is the epoch, 1; as a float of 8 bytes it would decode to the same number.
  expect(value[1]).toBe(1)
  const float = Uint8Array.from([...value.slice(0, 1), 0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, ...value.slice(2)])
  expect(caught(() => openEntry(float))?.code).toBe('MALFORMED')
})

test('a value above the bound is refused unread', () => {
  expect(caught(() => openEntry(new Uint8Array(maxEntryBytes + 1)))?.message).toMatch(/limit/)
})

test('[REC-7] the client id depends on writer and page alone, fits 53 bits and is never 0', async () => {
  expect(clientIdOf(notePage, pair.nodeId)).toBe(clientIdOf(notePage, pair.nodeId))
  const ids = new Set<number>()
  for (let number = 0; number < 50; number++) {
    for (const page of ['note/a', 'note/b', 'note/c'])
      ids.add(clientIdOf(parsePageId(page), (await keyPairOf(number)).nodeId))
  }
  expect(ids.size).toBe(150)
  for (const id of ids) expect(Number.isSafeInteger(id) && id > 0).toBe(true)
  expect(Math.max(...ids)).toBeGreaterThan(2 ** 50)
})

test('[REC-7] the client id is what docs/protocols.md says', () => {
  expect(pair.nodeId).toBe('12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5')
  expect(clientIdOf(notePage, pair.nodeId)).toBe(1475481716805949)
  const text = readText('docs/protocols.md')
  expect(text).toContain(pair.nodeId)
  expect(text).toContain('1475481716805949')
})
