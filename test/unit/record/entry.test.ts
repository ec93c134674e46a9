import { beforeAll, expect, test } from 'vitest'
import { encode } from '../../../src/core/codec.js'
import { parsePageId } from '../../../src/core/ids.js'
import type { KeyPair } from '../../../src/identity/keypair.js'
import { signatureBytes, SignatureVerifier } from '../../../src/identity/signature.js'
import {
  claimOf,
  clientIdOf,
  maxEntryBytes,
  openEntry,
  sealEntry,
  type EntryPosition
} from '../../../src/record/entry.js'
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

function isSigned(position: EntryPosition, value: Uint8Array): boolean {
  const { signer, domain, message, signature } = claimOf(position, openEntry(value))
  return verifier.verify(signer, domain, message, signature)
}

test('an entry opens to what was sealed, and its writer signed it', () => {
  const position = { page: notePage, writer: pair.nodeId, seq: 7 }
  const value = sealEntry(pair, position, content)
  expect(openEntry(value)).toMatchObject(content)
  expect(isSigned(position, value)).toBe(true)
})

test('[REC-5] the signature binds page, writer, clock, epoch, time and body', () => {
  const position = { page: notePage, writer: pair.nodeId, seq: 7 }
  const value = sealEntry(pair, position, content)
  for (const moved of [{ page: parsePageId('note/b') }, { writer: other.nodeId }, { seq: 8 }]) {
    expect(isSigned({ ...position, ...moved }, value)).toBe(false)
  }
  for (const changed of [{ epoch: 4 }, { issuedAt: content.issuedAt + 1 }, { body: encode({ text: 'hallo' }) }]) {
    const forged = sealEntry(pair, position, { ...content, ...changed })
    expect(isSigned(position, forged)).toBe(true)
    forged.set(value.subarray(0, signatureBytes))
    expect(isSigned(position, forged)).toBe(false)
  }
})

test.each([0, 63, 64, 65, 66])('a value of %i bytes, cut off, is MALFORMED', (length) => {
  const value = sealEntry(pair, { page: notePage, writer: pair.nodeId, seq: 0 }, content)
  expect(caught(() => openEntry(value.subarray(0, length)))?.code).toBe('MALFORMED')
})

test('[REC-6] one signature has one value: another encoding of the same fields is not signed, nor any changed byte', () => {
  const position = { page: notePage, writer: pair.nodeId, seq: 0 }
  const value = sealEntry(pair, position, { ...content, epoch: 1 })
  // The first byte behind the signature is the epoch, 1; in two bytes it would decode to the same number.
  expect(value[signatureBytes]).toBe(1)
  const longer = Uint8Array.from([...value.subarray(0, 64), 0x81, 0, ...value.subarray(65)])
  expect(openEntry(longer)).toMatchObject({ epoch: 1, body: content.body })
  expect(isSigned(position, longer)).toBe(false)
  for (let at = 0; at < value.length; at++) {
    const changed = Uint8Array.from(value, (byte, position) => (position === at ? byte ^ (1 << (at % 7)) : byte))
    expect(isSigned(position, changed), `byte ${at}`).toBe(false)
  }
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

test('[REC-7] the client id is what docs/record.md says', () => {
  expect(pair.nodeId).toBe('12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5')
  expect(clientIdOf(notePage, pair.nodeId)).toBe(1475481716805949)
  const text = readText('docs/record.md')
  expect(text).toContain(pair.nodeId)
  expect(text).toContain('1475481716805949')
})
