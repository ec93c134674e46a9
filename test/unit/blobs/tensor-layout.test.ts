import { expect, test } from 'vitest'
import { tensorCuts, tensorHeaderBytes } from '../../../src/blobs/tensor-layout.js'

const kibibyte = 1024

/** A file of F16 tensors of these sizes, one after the other. */
function cutsOf(
  sizes: readonly number[],
  edit: (header: Record<string, unknown>) => void = () => {}
): number[] | undefined {
  const header: Record<string, unknown> = {}
  let begin = 0
  sizes.forEach((size, index) => {
    header[`t${index}`] = { dtype: 'F16', shape: [size / 2], data_offsets: [begin, begin + size] }
    begin += size
  })
  edit(header)
  const json = Buffer.from(JSON.stringify(header))
  const cuts = tensorCuts(json, 8 + json.byteLength + begin)
  return cuts && [...cuts].slice(1)
}

test('large tensors are cut every 256 KiB from their own start', () => {
  expect(cutsOf([600 * kibibyte, 256 * kibibyte])).toEqual([256, 256, 88, 256].map((size) => size * kibibyte))
})

test('small neighbours are put together, and never across a tensor that is not small', () => {
  expect(cutsOf([2048, 1024, 8192, 2048])).toEqual([3072, 8192, 2048])
  expect(cutsOf(Array.from({ length: 40 }, () => 2048))).toEqual([64 * kibibyte, 16 * kibibyte])
})

test('an inserted tensor moves no cut beyond the next large one', () => {
  const tail = [512 * kibibyte, 2048, 300 * kibibyte]
  expect(cutsOf([1024, 2000, ...tail])?.slice(-5)).toEqual(cutsOf([1024, ...tail])?.slice(-5))
})

test('empty tensors and metadata have no bytes', () => {
  expect(cutsOf([0, 8192, 0], (header) => (header.__metadata__ = { format: 'pt' }))).toEqual([8192])
})

test('gaps, overlaps, wrong sizes and wrong forms are refused', () => {
  const edits: ((header: Record<string, unknown>) => void)[] = [
    (header) => delete header.t0,
    (header) => (header.t1 = { dtype: 'F16', shape: [4096], data_offsets: [0, 8192] }),
    (header) => (header.t0 = { dtype: 'F32', shape: [4096], data_offsets: [0, 8192] }),
    (header) => (header.t0 = { dtype: 'F16', shape: [-1], data_offsets: [0, 8192] }),
    (header) => (header.t0 = { dtype: 'F16', shape: 4096, data_offsets: [0, 8192] }),
    (header) => (header.t0 = { dtype: 'F16', shape: [4096], data_offsets: [0] }),
    (header) => (header.t0 = { shape: [4096], data_offsets: [0, 8192] }),
    (header) => (header.t0 = null),
    (header) => (header.t0 = { dtype: 'NEW', shape: [1], data_offsets: [8192, 0] })
  ]
  for (const edit of edits) expect(cutsOf([8192, 8192], edit)).toBeUndefined()
  expect(
    cutsOf([8192, 8192], (header) => (header.t0 = { dtype: 'NEW4', shape: [1], data_offsets: [0, 8192] }))
  ).toBeDefined()
})

test('a header that is no JSON object, or far too many pieces, are refused', () => {
  for (const text of ['[]', '1', '{', '{"a":1}', '\ufffe']) expect(tensorCuts(Buffer.from(text), 1000)).toBeUndefined()
  expect(cutsOf(Array.from({ length: 3000 }, () => 4096))).toBeUndefined()
})

test('the length field is bounded by the file and by 16 MiB', () => {
  const field = (length: bigint): Uint8Array => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64LE(length)
    return bytes
  }
  expect(tensorHeaderBytes(field(100n), 108)).toBe(100)
  expect(tensorHeaderBytes(field(101n), 108)).toBeUndefined()
  expect(tensorHeaderBytes(field(0n), 108)).toBeUndefined()
  expect(tensorHeaderBytes(field(2n ** 24n + 1n), 2 ** 30)).toBeUndefined()
  expect(tensorHeaderBytes(field(2n ** 63n), 2 ** 30)).toBeUndefined()
  expect(tensorHeaderBytes(new Uint8Array(7), 7)).toBeUndefined()
})
