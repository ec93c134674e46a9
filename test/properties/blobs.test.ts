import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encode } from '@ipld/dag-cbor'
import { MurmurateError } from '../../src/core/errors.js'
import { Bitfield } from '../../src/blobs/bitfield.js'
import { ChunkListBuilder, type ChunkList } from '../../src/blobs/chunk-list.js'
import { chunkFile, cutterFor, maxChunkBytes, type ByteSource } from '../../src/blobs/chunker.js'
import { cidFromBytes, cidOf, digestOf, linkOf } from '../../src/blobs/cid.js'
import { decodeAnswererMessage, decodeAskerMessage, rangesIn } from '../../src/blobs/exchange.js'
import { nameProblem } from '../../src/blobs/file-name.js'
import {
  decodeChunkList,
  decodeFileManifest,
  decodeManifest,
  encodeFile,
  encodeManifest
} from '../../src/blobs/manifest.js'
import { tensorCuts } from '../../src/blobs/tensor-layout.js'
import { safetensorsBytes, seededBytes } from '../support/safetensors.js'

/** Runs it; whatever it throws must be one of our own errors. */
function onlyOurErrors(task: () => unknown): void {
  try {
    task()
  } catch (error) {
    expect(error).toBeInstanceOf(MurmurateError)
  }
}

const cid = cidOf(Uint8Array.of(1))
const anyBytes = fc.uint8Array({ maxLength: 400 })

/** A valid block with a few bytes changed, cut or added. */
function mutated(block: Uint8Array): fc.Arbitrary<Uint8Array> {
  const change = fc.tuple(fc.nat(block.byteLength - 1), fc.nat(255))
  return fc
    .tuple(fc.array(change, { maxLength: 6 }), fc.nat(block.byteLength), anyBytes)
    .map(([changes, end, more]) => {
      const bytes = Uint8Array.from(block)
      for (const [at, value] of changes) bytes[at] = value
      return end % 3 === 0 ? new Uint8Array(Buffer.concat([bytes.subarray(0, end), more])) : bytes
    })
}

function listOf(lengths: readonly number[]): ChunkList {
  const list = new ChunkListBuilder()
  for (const [chunk, length] of lengths.entries()) list.add(digestOf(Buffer.from(String(chunk))), length)
  return list.build()
}

describe('what comes from a peer or a disk never throws anything but our own errors', () => {
  const chunks = listOf([1000, 2000, 3000])
  const [head, page] = encodeFile(chunks, { id: 'fastcdc', averageBytes: 1 })
  const manifest = encodeManifest([{ name: 'a/b', size: 3, file: cid }])
  const decodeAll = (bytes: Uint8Array): void => {
    onlyOurErrors(() => decodeManifest(bytes))
    onlyOurErrors(() => decodeFileManifest(bytes))
    onlyOurErrors(() => decodeChunkList(decodeFileManifest(head.bytes), [bytes]))
    onlyOurErrors(() => decodeAskerMessage(bytes))
    onlyOurErrors(() => decodeAnswererMessage(bytes))
    onlyOurErrors(() => cidFromBytes(bytes))
    onlyOurErrors(() => Bitfield.from(bytes, bytes.byteLength * 8 - 3))
  }

  test('arbitrary bytes', () => {
    fc.assert(fc.property(anyBytes, decodeAll))
  })

  test('[BLOB-7] mutated blocks', () => {
    const blocks = [manifest, head, page].flatMap((block) => (block === undefined ? [] : [mutated(block.bytes)]))
    fc.assert(fc.property(fc.oneof(...blocks), decodeAll), { numRuns: 1000 })
  })

  test('arbitrary values of the right kind of form', () => {
    const value = fc.oneof(
      fc.integer(),
      fc.string(),
      fc.constant(linkOf(cid)),
      fc.uint8Array({ maxLength: 200 }),
      fc.constant(null)
    )
    const entry = fc.record({ name: value, size: value, file: value })
    const form = fc.record({
      version: value,
      size: value,
      files: fc.array(fc.oneof(entry, value)),
      pages: fc.array(value)
    })
    fc.assert(fc.property(form, (made) => decodeAll(encode(made))))
  })
})

test('a manifest comes back as it was', () => {
  const name = fc
    .string({ minLength: 1, maxLength: 20, unit: 'grapheme' })
    .filter((text) => nameProblem(text) === undefined)
  const names = fc.uniqueArray(name, { selector: (text) => text.toLowerCase(), maxLength: 8 })
  fc.assert(
    fc.property(names, (unique) => {
      const files = unique.map((text, index) => ({ name: text, size: index, file: cid }))
      expect(decodeManifest(encodeManifest(files).bytes).files).toEqual(files)
    })
  )
})

test('a chunk list comes back as it was', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: maxChunkBytes }), { maxLength: 200 }), (lengths) => {
      const list = listOf(lengths)
      const [head, ...pages] = encodeFile(list, { id: 'x' })
      expect(
        decodeChunkList(
          decodeFileManifest(head.bytes),
          pages.map(({ bytes }) => bytes)
        )
      ).toEqual(list)
    })
  )
})

test('a bitfield is a set of numbers', () => {
  const steps = fc.array(fc.tuple(fc.boolean(), fc.nat(70)), { maxLength: 100 })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 64 }), steps, (length, changes) => {
      const [bits, model] = [Bitfield.empty(length), new Set<number>()]
      for (const [isSet, index] of changes) {
        if (isSet) expect(bits.set(index)).toBe(index < length && !model.has(index))
        else expect(bits.clear(index)).toBe(model.has(index))
        if (!isSet) model.delete(index)
        else if (index < length) model.add(index)
      }
      expect(bits.ones).toBe(model.size)
      expect([...bits.zeros()]).toEqual(
        Array.from({ length }, (_, index) => index).filter((index) => !model.has(index))
      )
      expect(Bitfield.from(bits.bytes, length).ones).toBe(model.size)
    })
  )
})

test('runs name exactly the chunks that they were made of', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(500)), (chunks) => {
      const named = rangesIn(chunks).flatMap(({ first, count }) =>
        Array.from({ length: count }, (_, index) => first + index)
      )
      expect(named).toEqual(chunks.toSorted((a, b) => a - b))
    })
  )
})

test('the cuts of any header cover the file, or there are none', () => {
  const tensor = fc.record({
    dtype: fc.constantFrom('F16', 'F32', 'U8', 'Q4'),
    shape: fc.array(fc.integer({ min: -1, max: 300 }), { maxLength: 3 }),
    data_offsets: fc.array(fc.integer({ min: -1, max: 2000 }), { minLength: 1, maxLength: 3 })
  })
  fc.assert(
    fc.property(
      fc.oneof(fc.dictionary(fc.string(), fc.oneof(tensor, fc.jsonValue())), fc.jsonValue()),
      fc.nat(5000),
      (header, data) => {
        const json = Buffer.from(JSON.stringify(header))
        const fileBytes = 8 + json.byteLength + data
        const cuts = tensorCuts(json, fileBytes)
        if (cuts !== undefined) expect(cuts.reduce((total, length) => total + length, 0)).toBe(fileBytes)
      }
    ),
    { numRuns: 1000 }
  )
})

describe('any file', () => {
  const sourceOf = (bytes: Uint8Array): ByteSource => ({
    sizeBytes: bytes.byteLength,
    read: async (into, position) => {
      const part = bytes.subarray(position, position + into.byteLength)
      into.set(part)
      return part.byteLength
    }
  })
  const cut = async (bytes: Uint8Array): Promise<ChunkList> =>
    chunkFile(sourceOf(bytes), await cutterFor(sourceOf(bytes)))
  const digestsOf = (list: ChunkList): string[] =>
    Array.from({ length: list.count }, (_, chunk) => Buffer.from(list.digest(chunk)).toString('hex'))

  /** Random stretches and repeated ones, up to 9 MB: longer than what is read at a time. */
  const content = fc
    .array(fc.tuple(fc.nat(20), fc.integer({ min: 1, max: 1_500_000 })), { maxLength: 6 })
    .map((parts) =>
      Buffer.concat(parts.map(([seed, length]) => (seed === 0 ? Buffer.alloc(length) : seededBytes(`${seed}`, length))))
    )

  test('is the concatenation of its chunks, and is cut alike each time', async () => {
    await fc.assert(
      fc.asyncProperty(content, async (bytes) => {
        const list = await cut(bytes)
        expect(list.sizeBytes).toBe(bytes.byteLength)
        for (let chunk = 0; chunk < list.count; chunk++) {
          const part = bytes.subarray(list.offset(chunk), list.offset(chunk + 1))
          expect(Buffer.compare(digestOf(part), list.digest(chunk))).toBe(0)
        }
        expect(await cut(bytes)).toEqual(list)
      }),
      { numRuns: 15 }
    )
  })

  test('changes only near an insertion', async () => {
    const bytes = seededBytes('insertion', 3_000_000)
    const before = new Set(digestsOf(await cut(bytes)))
    const insertion = fc.tuple(fc.nat(bytes.byteLength), fc.uint8Array({ minLength: 1, maxLength: 5000 }))
    await fc.assert(
      fc.asyncProperty(insertion, async ([at, inserted]) => {
        const list = await cut(Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at)]))
        const fresh = digestsOf(list).flatMap((digest, chunk) => (before.has(digest) ? [] : [list.length(chunk)]))
        expect(fresh.reduce((total, length) => total + length, 0)).toBeLessThan(6 * maxChunkBytes)
      }),
      { numRuns: 20 }
    )
  })

  test('of tensors: one that changes costs its own chunks', async () => {
    const shape = { layers: 3, hidden: 128, vocabulary: 500 }
    const first = safetensorsBytes(shape)
    const before = await cut(first)
    const known = new Set(digestsOf(before))
    await fc.assert(
      fc.asyncProperty(fc.nat(first.byteLength - 6001), fc.integer({ min: 1, max: 6000 }), async (offset, length) => {
        const start = before.length(0)
        const at = start + Math.floor((offset / first.byteLength) * (first.byteLength - start - length))
        const changed = Uint8Array.from(first)
        for (let index = at; index < at + length; index++) changed[index] = (changed[index] ?? 0) ^ 0x55
        const after = await cut(changed)
        expect(after.offsets).toEqual(before.offsets)
        digestsOf(after).forEach((digest, chunk) => {
          const isTouched = after.offset(chunk) < at + length && after.offset(chunk + 1) > at
          expect(known.has(digest)).toBe(!isTouched)
        })
      }),
      { numRuns: 30 }
    )
  })
})
