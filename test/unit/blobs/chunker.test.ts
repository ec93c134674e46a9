import { describe, expect, test } from 'vitest'
import { createHash } from 'node:crypto'
import { chunkFile, contentCutter, cutterFor, maxChunkBytes, type ByteSource } from '../../../src/blobs/chunker.js'
import type { ChunkList } from '../../../src/blobs/chunk-list.js'
import { fastCdcCut, fastCdcParameters } from '../../../src/blobs/fastcdc.js'
import { headerBytesOf, safetensorsBytes, seededBytes, smallModel } from '../../support/safetensors.js'

function sourceOf(
  bytes: Uint8Array,
  options: { readonly sizeBytes?: number; readonly readBytes?: number } = {}
): ByteSource {
  return {
    sizeBytes: options.sizeBytes ?? bytes.byteLength,
    read: async (into, position) => {
      const part = bytes.subarray(position, position + Math.min(into.byteLength, options.readBytes ?? into.byteLength))
      into.set(part)
      return part.byteLength
    }
  }
}

async function cut(bytes: Uint8Array): Promise<ChunkList> {
  return chunkFile(sourceOf(bytes), await cutterFor(sourceOf(bytes)))
}

const digests = (list: ChunkList): string[] =>
  Array.from({ length: list.count }, (_, chunk) => Buffer.from(list.digest(chunk)).toString('hex'))

/** Bytes of the second list's chunks that the first does not have. */
function newBytes(before: ChunkList, after: ChunkList): number {
  const known = new Set(digests(before))
  return digests(after).reduce((total, digest, chunk) => total + (known.has(digest) ? 0 : after.length(chunk)), 0)
}

describe('any file', () => {
  const bytes = seededBytes('content', 12_000_000)

  test('is cut by content, every chunk within bounds and hashed', async () => {
    const list = await cut(bytes)
    expect(list.sizeBytes).toBe(bytes.byteLength)
    for (let chunk = 0; chunk < list.count; chunk++) {
      const part = bytes.subarray(list.offset(chunk), list.offset(chunk + 1))
      expect(Buffer.compare(list.digest(chunk), createHash('sha256').update(part).digest())).toBe(0)
      expect(part.byteLength).toBeLessThanOrEqual(fastCdcParameters.maxBytes)
      if (chunk < list.count - 1) expect(part.byteLength).toBeGreaterThan(fastCdcParameters.minBytes)
    }
    const averageBytes = list.sizeBytes / list.count
    expect(averageBytes).toBeGreaterThan(48 * 1024)
    expect(averageBytes).toBeLessThan(88 * 1024)
  })

  test('[BLOB-2] is cut where the format says: these cuts never change', () => {
    const cuts: number[] = []
    for (let at = 0; cuts.length < 6; at += cuts.at(-1) ?? 0) cuts.push(fastCdcCut(bytes, at, bytes.byteLength))
    expect(cuts).toMatchInlineSnapshot(`
      [
        112586,
        70961,
        74846,
        66727,
        78094,
        77645,
      ]
    `)
  })

  test('is cut as the plain form of the algorithm cuts it', () => {
    const gear = Array.from({ length: 256 }, (_, byte) =>
      createHash('sha256').update(Uint8Array.of(byte)).digest().readInt32BE(0)
    )
    const plainCut = (start: number): number => {
      const [limit, average] = [Math.min(bytes.byteLength, start + 256 * 1024), start + 64 * 1024]
      let hash = 0
      for (let at = start + 16 * 1024; at < limit; at++) {
        hash = ((hash << 1) + (gear[bytes[at] ?? 0] ?? 0)) | 0
        if (hash >>> (at < average ? 14 : 18) === 0) return at + 1 - start
      }
      return limit - start
    }
    // From many places, so that cuts right after the average size, where the mask changes, are among them.
    for (let start = 0; start < bytes.byteLength; start += 3001) {
      expect(fastCdcCut(bytes, start, bytes.byteLength)).toBe(plainCut(start))
    }
  })

  test('is cut alike whatever the size of the reads', async () => {
    const whole = await cut(bytes)
    const pieces = await chunkFile(sourceOf(bytes, { readBytes: 77_777 }), contentCutter())
    expect(digests(pieces)).toEqual(digests(whole))
  })

  test('an insertion changes only chunks near it', async () => {
    const inserted = Buffer.concat([bytes.subarray(0, 5_000_000), Buffer.from('!'), bytes.subarray(5_000_000)])
    expect(newBytes(await cut(bytes), await cut(inserted))).toBeLessThan(3 * fastCdcParameters.maxBytes)
  })

  test('without any content to cut at has chunks of the largest size', async () => {
    const list = await cut(new Uint8Array(1_000_000))
    expect(list.length(0)).toBe(maxChunkBytes)
    expect(list.sizeBytes).toBe(1_000_000)
  })

  test('that turns out shorter is covered as far as it goes', async () => {
    const list = await chunkFile(sourceOf(bytes, { sizeBytes: bytes.byteLength + 10_000_000 }), contentCutter())
    expect(list.sizeBytes).toBe(bytes.byteLength)
  })

  test('of no bytes has no chunks', async () => {
    expect((await cut(new Uint8Array(0))).count).toBe(0)
  })

  test('goes whole to the sink, in order', async () => {
    const copy = Buffer.alloc(bytes.byteLength)
    const sink = { write: async (part: Uint8Array, position: number): Promise<void> => copy.set(part, position) }
    await chunkFile(sourceOf(bytes), contentCutter(), { sink })
    expect(Buffer.compare(copy, bytes)).toBe(0)
  })

  test('is not read on once the signal fires', async () => {
    const signal = AbortSignal.abort()
    await expect(chunkFile(sourceOf(bytes), contentCutter(), { signal })).rejects.toMatchObject({ code: 'ABORTED' })
  })
})

describe('a safetensors file', () => {
  const first = safetensorsBytes(smallModel)

  test('is cut at its tensors', async () => {
    expect((await cutterFor(sourceOf(first))).description.id).toBe('tensors')
    const list = await cut(first)
    expect(list.sizeBytes).toBe(first.byteLength)
    expect(list.length(0)).toBe(headerBytesOf(first))
  })

  const changes = {
    'a last layer that was trained further costs that layer and the header stays': [
      { lastLayerRevision: 1 },
      12 * 256 * 256 * 2 + 2 * 512
    ],
    'a longer header costs the header': [{ metadataBytes: 4000 }, headerBytesOf(first) + 4000],
    'tensors in another order cost the header and the small ones': [{ isReversed: true }, 10_000],
    'rows appended to the embedding cost these rows and the header': [{ extraRows: 64 }, 64 * 512 + 10_000]
  } as const

  for (const [title, [change, maxBytes]] of Object.entries(changes)) {
    test(title, async () => {
      const cost = newBytes(await cut(first), await cut(safetensorsBytes(smallModel, change)))
      expect(cost).toBeGreaterThan(0)
      expect(cost).toBeLessThanOrEqual(maxBytes)
    })
  }

  test('that is damaged is cut by content and never throws', async () => {
    const shorter = first.subarray(0, first.byteLength - 1)
    const garbled = Uint8Array.from(first)
    garbled[9] = 0xff
    const huge = Uint8Array.from(first)
    huge.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
    for (const bytes of [shorter, garbled, huge, first.subarray(0, 5)]) {
      expect((await cutterFor(sourceOf(bytes))).description.id).toBe('fastcdc')
      expect((await cut(bytes)).sizeBytes).toBe(bytes.byteLength)
    }
  })
})
