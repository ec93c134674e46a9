import { describe, expect, test } from 'vitest'
import { decode, encode } from '@ipld/dag-cbor'
import { ChunkListBuilder, type ChunkList } from '../../../src/blobs/chunk-list.js'
import { cidOf, digestOf, linkOf } from '../../../src/blobs/cid.js'
import {
  chunksPerPage,
  decodeChunkList,
  decodeFileManifest,
  decodeManifest,
  encodeFile,
  encodeManifest,
  manifestLimits
} from '../../../src/blobs/manifest.js'

const malformed = expect.objectContaining({ name: 'MurmurateError', code: 'MALFORMED' })
const file = cidOf(Uint8Array.of(1))
const chunker = { id: 'fastcdc', averageBytes: 65_536 }

function listOf(count: number): ChunkList {
  const list = new ChunkListBuilder()
  for (let chunk = 0; chunk < count; chunk++) list.add(digestOf(Buffer.from(String(chunk))), 1000 + (chunk % 7))
  return list.build()
}

test('a manifest comes back as it was, its links as links', () => {
  const files = [
    { name: 'a/b.bin', size: 5, file },
    { name: 'model.safetensors', size: 7, file }
  ]
  const block = encodeManifest(files)
  expect(decodeManifest(block.bytes)).toEqual({ version: 1, size: 12, files })
  expect(Buffer.from(block.bytes).includes(Buffer.from([0xd8, 42]))).toBe(true)
  expect(block.cid).toBe(cidOf(block.bytes))
})

test('[BLOB-2] a manifest has this identity for ever', () => {
  expect(encodeManifest([{ name: 'model.safetensors', size: 7, file }]).cid).toMatchInlineSnapshot(
    `"bafyreiawbp4xll3aafxcsetff6wq4nhqbn24q6m4lejuvu3l3omxq6bea4"`
  )
  expect(encodeFile(listOf(3), chunker).map(({ cid }) => cid)).toMatchInlineSnapshot(`
    [
      "bafyreieclx2ufq26qa4eyb4fezo3e4h5cjibjfs462jsfugelfc7mlj7hy",
      "bafyreieztlip4ru36ywjuhpal5aak65pgoymcylhgftjppwslwsnfaacne",
    ]
  `)
})

test('a chunk list comes back from its pages', () => {
  for (const count of [0, 1, chunksPerPage, chunksPerPage + 1]) {
    const list = listOf(count)
    const [head, ...pages] = encodeFile(list, chunker)
    expect(pages.length).toBe(Math.ceil(count / chunksPerPage))
    const back = decodeChunkList(
      decodeFileManifest(head.bytes),
      pages.map(({ bytes }) => bytes)
    )
    expect([back.count, back.sizeBytes]).toEqual([count, list.sizeBytes])
    expect(Buffer.compare(back.digests, list.digests)).toBe(0)
    expect(back.offsets).toEqual(list.offsets)
  }
})

describe('what a peer may not make us believe: a manifest', () => {
  const valid = { version: 1, size: 5, files: [{ name: 'a', size: 5, file: linkOf(file) }] }
  const named = (...names: string[]): unknown => ({
    version: 1,
    size: 0,
    files: names.map((name) => ({ name, size: 0, file: linkOf(file) }))
  })
  const cases: Record<string, unknown> = {
    'of another version': { ...valid, version: 2 },
    'with an unknown field': { ...valid, more: 1 },
    'whose size is not the sum': { ...valid, size: 6 },
    'with a size beyond safe integers': {
      ...valid,
      size: 2 ** 53,
      files: [{ name: 'a', size: 2 ** 53, file: linkOf(file) }]
    },
    'with a negative size': { version: 1, size: -1, files: [{ name: 'a', size: -1, file: linkOf(file) }] },
    'with text instead of a link': { ...valid, files: [{ name: 'a', size: 5, file }] },
    'with a link to a raw block': {
      ...valid,
      files: [{ name: 'a', size: 5, file: linkOf(cidOf(Uint8Array.of(1), 'raw')) }]
    },
    'with an absolute path': named('/etc/passwd'),
    'with a path that climbs': named('a/../../b'),
    'with a backslash': named('a\\b'),
    'with a NUL': named('a\0b'),
    'with an empty name': named(''),
    'with a dot': named('a/./b'),
    'with a name that is not normalised': named('e\u0301'),
    'with a name that is too long': named('a'.repeat(256)),
    'with a name twice but for capitals': named('Model.bin', 'model.BIN'),
    'with too many files': named(...Array.from({ length: manifestLimits.files + 1 }, (_, index) => `f${index}`))
  }
  for (const [title, value] of Object.entries(cases)) {
    test(title, () => expect(() => decodeManifest(encode(value))).toThrow(malformed))
  }

  test('that is too large', () => {
    expect(() => decodeManifest(new Uint8Array(manifestLimits.manifestBytes + 1))).toThrow(malformed)
  })

  test('that is nested without end', () => {
    expect(() => decodeManifest(new Uint8Array(1_000_000).fill(0x81))).toThrow(malformed)
  })
})

describe('what a peer may not make us believe: a file', () => {
  const [head, page] = encodeFile(listOf(10), chunker)
  const valid = decode(head.bytes) as { pages: unknown[]; size: number }
  const cases: Record<string, unknown> = {
    'with more chunks than allowed': { ...valid, chunkCount: manifestLimits.chunks + 1 },
    'with too few pages': { ...valid, pages: [] },
    'with too many pages': { ...valid, pages: [...valid.pages, ...valid.pages] },
    'larger than its chunks can be': { ...valid, size: 10 * 262_144 + 1 },
    'with more chunks than bytes': { ...valid, size: 9 },
    'with a chunker that has no name': { ...valid, chunker: { averageBytes: 1 } },
    'with a chunker that has text': { ...valid, chunker: { id: 'x', y: 'z' } }
  }
  for (const [title, value] of Object.entries(cases)) {
    test(title, () => expect(() => decodeFileManifest(encode(value))).toThrow(malformed))
  }

  const pages: Record<string, unknown> = {
    'a page that is too short': { digests: new Uint8Array(9 * 32), lengths: new Uint8Array(9 * 4).fill(1) },
    'a page whose arrays do not agree': { digests: new Uint8Array(10 * 32), lengths: new Uint8Array(11 * 4).fill(1) },
    'an empty chunk': { digests: new Uint8Array(10 * 32), lengths: new Uint8Array(10 * 4) },
    'a chunk that is too long': { digests: new Uint8Array(10 * 32), lengths: new Uint8Array(10 * 4).fill(1) },
    'a page of something else': { digests: 'a', lengths: [] }
  }
  for (const [title, value] of Object.entries(pages)) {
    test(title, () => expect(() => decodeChunkList(decodeFileManifest(head.bytes), [encode(value)])).toThrow(malformed))
  }

  test('whose chunks do not add up', () => {
    const other = decodeFileManifest(encode({ ...valid, size: valid.size + 1 }))
    expect(() => decodeChunkList(other, [page?.bytes ?? new Uint8Array(0)])).toThrow(malformed)
    expect(() => decodeChunkList(decodeFileManifest(head.bytes), [])).toThrow(malformed)
  })
})
