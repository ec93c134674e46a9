import { encode as encodeRaw } from '@ipld/dag-cbor'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { check, decode, encode, equalBytes } from '../../../src/core/codec.js'
import { caught } from './caught.js'

const bounds = { maxBytes: 1024, what: 'A thing' }
const anything = z.unknown()
const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))

test('what is encoded comes back', () => {
  const value = { b: [1, -1, 2 ** 53 - 1], a: { text: 'ü', none: null, yes: true }, bytes: Uint8Array.of(1, 2) }
  expect(decode(encode(value), anything, bounds)).toEqual(value)
})

test('[REC-1] the encoding is canonical: order of keys does not matter', () => {
  expect(encode({ a: 1, bb: 2, c: 3 })).toEqual(encode({ c: 3, bb: 2, a: 1 }))
})

test('undefined is left out of objects, at any depth', () => {
  expect(encode({ a: undefined, b: { c: undefined, d: 1 }, e: [{ f: undefined }] })).toEqual(
    encode({ b: { d: 1 }, e: [{}] })
  )
})

test('a key named __proto__ is data, not a prototype', () => {
  const bytes = encode(JSON.parse('{"__proto__": {"admin": true}, "a": 1}'))
  const value = decode(bytes, z.object({ a: z.int(), admin: z.boolean().optional() }), bounds)
  expect(value).toEqual({ a: 1 })
  expect(Reflect.get({}, 'admin')).toBeUndefined()
})

test('an input above the bound is refused before it is looked at', () => {
  const error = caught(() => decode(new Uint8Array(1025), anything, bounds))
  expect(error).toMatchObject({ code: 'MALFORMED', message: 'A thing has 1025 bytes, the limit is 1024' })
})

test.each([
  ['nothing', ''],
  ['a cut string', '6568656c'],
  ['a length of 2^64 - 1', '5bffffffffffffffff'],
  ['an array of 2^32 items', '9affffffff'],
  ['a map of 2^53 items', 'bb001fffffffffffff'],
  ['an indefinite length', '9f01ff'],
  ['a number that is longer than needed', '1801'],
  ['a key twice', 'a2616101616102'],
  ['a key that is no text', 'a10102'],
  ['not a number', 'f97e00'],
  ['infinity', 'f97c00'],
  ['a tag that is no CID', 'c100'],
  ['more behind it', '0101'],
  ['text that is no UTF-8', '61ff']
])('%s is MALFORMED', (_, text) => {
  const schema = z.unknown().refine((value) => !String(value).includes('\ufffd'))
  expect(caught(() => decode(hex(text), schema, bounds))?.code).toBe('MALFORMED')
})

test('[REC-2] deep nesting is an error, not the end of the process', () => {
  for (const [open, count] of [
    [0x81, 1_000_000],
    [0x81, 5000]
  ] as const) {
    const bytes = new Uint8Array(count).fill(open)
    expect(caught(() => decode(bytes, anything, { maxBytes: 2e6, what: 'A thing' }))?.code).toBe('MALFORMED')
  }
  const nestedMaps = Buffer.from('a16161'.repeat(200_000), 'hex')
  expect(caught(() => decode(nestedMaps, anything, { maxBytes: 2e6, what: 'A thing' }))?.code).toBe('MALFORMED')
})

test('the wrong form is MALFORMED and names the field', () => {
  const schema = z.object({ size: z.object({ bytes: z.int().nonnegative() }) })
  const error = caught(() => decode(encodeRaw({ size: { bytes: -1 } }), schema, bounds))
  expect(error?.code).toBe('MALFORMED')
  expect(error?.message).toMatch(/^A thing has the wrong form: size\.bytes: /)
})

test('an argument of the wrong form is INVALID_REQUEST and names the field', () => {
  const error = caught(() => check({ a: 'x' }, z.object({ a: z.int() }), 'The options'))
  expect(error?.code).toBe('INVALID_REQUEST')
  expect(error?.message).toMatch(/^The options: a: /)
  expect(check({ a: 1 }, z.object({ a: z.int() }), 'The options')).toEqual({ a: 1 })
})

test('byte strings are equal by content', () => {
  expect(equalBytes(Uint8Array.of(1, 2), Buffer.from([1, 2]))).toBe(true)
  expect(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 3))).toBe(false)
  expect(equalBytes(Uint8Array.of(1), Uint8Array.of(1, 0))).toBe(false)
})
