import { describe, expect, test } from 'vitest'
import { cidOf } from '../../../src/blobs/cid.js'
import {
  decodeAnswererMessage,
  decodeAskerMessage,
  encodeMessage,
  maxExchangeFrameBytes,
  noChunk,
  rangesIn,
  type AnswererMessage,
  type AskerMessage
} from '../../../src/blobs/exchange.js'

const cid = cidOf(Uint8Array.of(1))
const malformed = expect.objectContaining({ code: 'MALFORMED' })
const frameOf = (message: AskerMessage | AnswererMessage): Uint8Array =>
  new Uint8Array(Buffer.concat(encodeMessage(message)))

const asked: AskerMessage[] = [
  { type: 'interest', id: 1, file: cid },
  { type: 'leave', id: 1 },
  {
    type: 'request',
    id: 2,
    interest: 1,
    ranges: [
      { first: 7, count: 4 },
      { first: 70_000, count: 1 }
    ]
  },
  { type: 'cancel', id: 2, chunk: noChunk },
  { type: 'want', id: 0xffff_ffff, cid }
]
const answered: AnswererMessage[] = [
  { type: 'bitfield', interest: 1, count: 12, bits: Buffer.from([0xff, 0xf0]) },
  { type: 'have', interest: 1, ranges: [{ first: 0, count: 2_000_000 }] },
  { type: 'data', request: 2, chunk: 7, bytes: Buffer.from('chunk') },
  { type: 'block', want: 3, total: 10, offset: 5, bytes: Buffer.from('block') },
  { type: 'reject', id: 2, chunk: 8, reason: 'failed' }
]

describe('every message comes back as it was', () => {
  for (const message of asked) test(message.type, () => expect(decodeAskerMessage(frameOf(message))).toEqual(message))
  for (const message of answered)
    test(message.type, () => expect(decodeAnswererMessage(frameOf(message))).toEqual(message))
})

test('the largest chunk fits in a frame, and is not copied into it', () => {
  const bytes = new Uint8Array(256 * 1024)
  const parts = encodeMessage({ type: 'data', request: 1, chunk: 1, bytes })
  expect(parts[1]).toBe(bytes)
  expect(parts.reduce((total, part) => total + part.byteLength, 0)).toBeLessThanOrEqual(maxExchangeFrameBytes)
})

test('[BLOB-2] these frames never change', () => {
  expect([...asked, ...answered].map((message) => Buffer.from(frameOf(message)).toString('hex')))
    .toMatchInlineSnapshot(`
    [
      "0100000001017112204bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a",
      "0200000001",
      "03000000020000000100000007040001117001",
      "0400000002ffffffff",
      "05ffffffff017112204bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a",
      "11000000010000000cfff0",
      "120000000100000000001e8480",
      "1300000002000000076368756e6b",
      "14000000030000000a00000005626c6f636b",
      "15000000020000000802",
    ]
  `)
})

describe('refused', () => {
  test('every message that is cut short or too long', () => {
    for (const [messages, decode] of [
      [asked, decodeAskerMessage],
      [answered, decodeAnswererMessage]
    ] as const) {
      for (const message of messages) {
        const frame = frameOf(message)
        const shortest =
          message.type === 'data' || message.type === 'block' || message.type === 'request' ? 9 : frame.byteLength
        for (let length = 0; length < shortest; length++)
          expect(() => decode(frame.subarray(0, length))).toThrow(malformed)
        if (message.type === 'data' || message.type === 'block') continue
        expect(() => decode(Buffer.concat([frame, Buffer.alloc(1)]))).toThrow(malformed)
      }
    }
  })

  test('messages of the other side', () => {
    for (const message of asked) expect(() => decodeAnswererMessage(frameOf(message))).toThrow(malformed)
    for (const message of answered) expect(() => decodeAskerMessage(frameOf(message))).toThrow(malformed)
  })

  test('[BLOB-7] too many chunks, runs and impossible numbers', () => {
    const request = (ranges: { first: number; count: number }[]): Uint8Array =>
      frameOf({ type: 'request', id: 1, interest: 1, ranges })
    expect(() => decodeAskerMessage(request([{ first: 0, count: 65 }]))).toThrow(malformed)
    expect(() => decodeAskerMessage(request([{ first: 0, count: 0 }]))).toThrow(malformed)
    expect(() => decodeAskerMessage(request([{ first: 2 ** 21, count: 1 }]))).toThrow(malformed)
    expect(() =>
      decodeAskerMessage(request(Array.from({ length: 17 }, (_, first) => ({ first: 2 * first, count: 1 }))))
    ).toThrow(malformed)
    expect(() =>
      decodeAnswererMessage(
        frameOf({ type: 'bitfield', interest: 1, count: 2 ** 21 + 1, bits: Buffer.alloc(2 ** 18 + 1) })
      )
    ).toThrow(malformed)
    expect(() =>
      decodeAnswererMessage(frameOf({ type: 'block', want: 1, total: 4, offset: 2, bytes: Buffer.alloc(3) }))
    ).toThrow(malformed)
    expect(() =>
      decodeAnswererMessage(frameOf({ type: 'block', want: 1, total: 2 ** 25, offset: 0, bytes: Buffer.alloc(3) }))
    ).toThrow(malformed)
  })
})

test('chunk numbers become runs', () => {
  expect(rangesIn([5, 1, 2, 3, 9])).toEqual([
    { first: 1, count: 3 },
    { first: 5, count: 1 },
    { first: 9, count: 1 }
  ])
  expect(rangesIn(Array.from({ length: 300 }, (_, chunk) => chunk)).map(({ count }) => count)).toEqual([255, 45])
})
