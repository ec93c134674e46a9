import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Cid } from '../../src/core/ids.js'
import type { BlobStore, Part } from '../../src/blobs/blob-store.js'
import { chunkFile, contentCutter } from '../../src/blobs/chunker.js'
import { cidOf } from '../../src/blobs/cid.js'
import { encodeFile, type Block } from '../../src/blobs/manifest.js'
import { seededBytes } from '../support/safetensors.js'

/** A file as the store sees it: bytes, and the blocks that describe them. */
export interface TestFile {
  readonly cid: Cid
  readonly bytes: Uint8Array
  readonly blocks: readonly Block[]
}

/** What an implementation brings to the suite. */
export interface BlobStoreFixture {
  /** A new, empty store, not started. */
  create(options?: { readonly capacityBytes?: number }): Promise<BlobStore>
  /** Changes a byte of a complete file behind the store's back. */
  damage(store: BlobStore, file: Cid, position: number): Promise<void>
  /** The bytes behind the path of a complete file. */
  read(store: BlobStore, path: string): Promise<Uint8Array>
  /** Frees what `create` made. */
  dispose(): Promise<void>
}

/** Cuts some bytes by content and describes them. */
export async function testFile(seed: string, length = 600_000): Promise<TestFile> {
  const bytes = seededBytes(seed, length)
  const source = {
    sizeBytes: length,
    read: async (into: Uint8Array, position: number): Promise<number> => {
      const part = bytes.subarray(position, position + into.byteLength)
      into.set(part)
      return part.byteLength
    }
  }
  const cutter = contentCutter()
  const blocks = encodeFile(await chunkFile(source, cutter), cutter.description)
  return { cid: blocks[0].cid, bytes, blocks }
}

/** Puts a file's blocks, so that a part of it can be opened. */
export async function putBlocks(store: BlobStore, file: TestFile): Promise<void> {
  for (const block of file.blocks) await store.putBlock(block.cid, block.bytes)
}

/** Writes chunks of a file into a part. */
export async function writeChunks(part: Part, file: TestFile, chunks: Iterable<number>): Promise<void> {
  for (const chunk of chunks) await part.write(chunk, chunkOf(part, file, chunk))
}

function chunkOf({ chunks }: Part, file: TestFile, chunk: number): Uint8Array {
  return file.bytes.subarray(chunks.offset(chunk), chunks.offset(chunk) + chunks.length(chunk))
}

/** Puts a whole file into a store. */
export async function putFile(store: BlobStore, file: TestFile): Promise<void> {
  await putBlocks(store, file)
  const part = await store.openPart(file.cid)
  await writeChunks(part, file, Array.from({ length: part.chunks.count }).keys())
  await part.complete()
  await part.close()
}

/** What every `BlobStore` promises. */
export function describeBlobStore(name: string, fixture: BlobStoreFixture): void {
  describe(`${name} keeps the promises of BlobStore`, () => {
    let store: BlobStore
    let file: TestFile

    beforeEach(async () => {
      store = await fixture.create()
      await store.start()
      file = await testFile('first')
    })

    afterEach(async () => {
      await store.stop()
      await fixture.dispose()
    })

    const reopen = async (): Promise<void> => {
      await store.stop()
      await store.start()
    }

    test('a block comes out as it went in, also after a restart', async () => {
      const bytes = seededBytes('block', 1000)
      await store.putBlock(cidOf(bytes), bytes)
      await reopen()
      expect(Buffer.compare((await store.getBlock(cidOf(bytes))) ?? Buffer.alloc(0), bytes)).toBe(0)
      await store.removeBlock(cidOf(bytes))
      expect(await store.getBlock(cidOf(bytes))).toBeUndefined()
    })

    test('a block that is not what its CID says is refused', async () => {
      const cid = cidOf(seededBytes('block', 1000))
      await expect(store.putBlock(cid, seededBytes('other', 1000))).rejects.toMatchObject({ code: 'BLOB_CORRUPT' })
      expect(await store.getBlock(cid)).toBeUndefined()
    })

    test('kept manifests are remembered until forgotten', async () => {
      await store.keep(file.cid)
      await store.keep(file.cid)
      await reopen()
      expect(store.kept()).toEqual([file.cid])
      await store.forget(file.cid)
      await reopen()
      expect(store.kept()).toEqual([])
    })

    test('a part needs the blocks of its file', async () => {
      await expect(store.openPart(file.cid)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' })
      expect(await store.state(file.cid)).toBeUndefined()
    })

    test('a part goes on after a restart with the chunks that it had', async () => {
      await putBlocks(store, file)
      const part = await store.openPart(file.cid)
      await writeChunks(part, file, [0, 2])
      await part.close()
      await reopen()
      const again = await store.openPart(file.cid)
      expect([again.held.has(0), again.held.has(1), again.held.has(2)]).toEqual([true, false, true])
      expect(store.path(file.cid)).toBeUndefined()
      await again.close()
    })

    test('chunks of a part are read back before the file is complete, and no others', async () => {
      await putBlocks(store, file)
      const part = await store.openPart(file.cid)
      await writeChunks(part, file, [1])
      expect(Buffer.compare(await store.readChunk(file.cid, 1), chunkOf(part, file, 1))).toBe(0)
      await expect(store.readChunk(file.cid, 0)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' })
      await expect(store.readChunk(file.cid, 99_999)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' })
      await part.close()
    })

    test('[BLOB-1] a wrong chunk is refused and stays missing', async () => {
      await putBlocks(store, file)
      const part = await store.openPart(file.cid)
      const wrong = seededBytes('wrong', part.chunks.length(0))
      await expect(part.write(0, wrong)).rejects.toMatchObject({ code: 'BLOB_CORRUPT' })
      await expect(part.write(0, wrong.subarray(1), { isVerified: true })).rejects.toMatchObject({
        code: 'BLOB_CORRUPT'
      })
      expect(part.held.ones).toBe(0)
      await part.close()
    })

    test('[BLOB-5] a file is complete only when all chunks are there; then it has a path with its bytes, also after a restart', async () => {
      await putBlocks(store, file)
      const part = await store.openPart(file.cid)
      await writeChunks(part, file, [0])
      await expect(part.complete()).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' })
      await writeChunks(part, file, part.held.zeros())
      await part.complete()
      await part.close()
      await reopen()
      expect((await store.state(file.cid))?.isComplete).toBe(true)
      expect(Buffer.compare(await fixture.read(store, store.path(file.cid) ?? ''), file.bytes)).toBe(0)
      expect(store.files()).toEqual([file.cid])
    })

    test('two users of a part see the same chunks, and it outlives the first to close', async () => {
      await putBlocks(store, file)
      const [one, two] = [await store.openPart(file.cid), await store.openPart(file.cid)]
      await Promise.all([writeChunks(one, file, [0, 1]), writeChunks(two, file, [0, 2])])
      await one.close()
      await writeChunks(two, file, two.held.zeros())
      await two.complete()
      await two.close()
      expect(store.path(file.cid)).toBeDefined()
    })

    test('an empty file is complete at once', async () => {
      const empty = await testFile('empty', 0)
      await putFile(store, empty)
      expect((await fixture.read(store, store.path(empty.cid) ?? '')).byteLength).toBe(0)
    })

    test('a draft becomes a file under the identity that was found', async () => {
      const draft = await store.createDraft(file.bytes.byteLength)
      await draft.write(file.bytes, 0)
      await putBlocks(store, file)
      await draft.commit(file.cid)
      await draft.discard()
      expect(Buffer.compare(await fixture.read(store, store.path(file.cid) ?? ''), file.bytes)).toBe(0)
      expect((await store.space()).usedBytes).toBe(file.bytes.byteLength + blockBytes(file))
    })

    test('a draft of a file that is there, or in the making, does no harm', async () => {
      await putBlocks(store, file)
      const part = await store.openPart(file.cid)
      await writeChunks(part, file, [0, 1])
      for (let round = 0; round < 2; round++) {
        const draft = await store.createDraft(file.bytes.byteLength)
        await draft.write(file.bytes, 0)
        await draft.commit(file.cid)
      }
      await writeChunks(part, file, part.held.zeros())
      await part.complete()
      await part.close()
      expect(Buffer.compare(await fixture.read(store, store.path(file.cid) ?? ''), file.bytes)).toBe(0)
      expect((await store.space()).usedBytes).toBe(file.bytes.byteLength + blockBytes(file))
    })

    test('a discarded draft leaves nothing', async () => {
      const before = await store.space()
      const draft = await store.createDraft(1000)
      await draft.write(seededBytes('draft', 500), 0)
      await draft.discard()
      expect((await store.space()).usedBytes).toBe(before.usedBytes)
      expect(store.files()).toEqual([])
    })

    test('a flipped byte is found when it is read; the chunk counts as missing and can be written again', async () => {
      await putFile(store, file)
      const chunks = (await store.state(file.cid))?.chunks
      await fixture.damage(store, file.cid, (chunks?.offset(3) ?? 0) + 5)
      await expect(store.readChunk(file.cid, 3)).rejects.toMatchObject({ code: 'BLOB_CORRUPT' })
      await expect(store.readChunk(file.cid, 3)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' })
      expect(store.path(file.cid)).toBeUndefined()
      await reopen()
      expect(store.path(file.cid)).toBeUndefined()
      const part = await store.openPart(file.cid)
      expect([...part.held.zeros()]).toEqual([3])
      await writeChunks(part, file, [3])
      await part.complete()
      await part.close()
      expect(Buffer.compare(await fixture.read(store, store.path(file.cid) ?? ''), file.bytes)).toBe(0)
      expect((await store.space()).usedBytes).toBe(file.bytes.byteLength + blockBytes(file))
    })

    test('chunks of complete files are found by digest, also after a restart, and no longer once removed', async () => {
      await putFile(store, file)
      await reopen()
      const chunks = (await store.state(file.cid))?.chunks
      const digests = Buffer.concat([chunks?.digest(2) ?? Buffer.alloc(0), Buffer.alloc(32, 7)])
      expect(await store.locate(digests)).toEqual([{ file: file.cid, chunk: 2 }, undefined])
      await store.removeFile(file.cid)
      expect(await store.locate(digests)).toEqual([undefined, undefined])
    })

    test('a removed file is gone, whole or in part, and its room is free again', async () => {
      const other = await testFile('second')
      await putFile(store, file)
      await putBlocks(store, other)
      const part = await store.openPart(other.cid)
      await writeChunks(part, other, [0])
      await part.close()
      await store.removeFile(file.cid)
      await store.removeFile(other.cid)
      await store.removeFile(other.cid)
      await reopen()
      expect(store.files()).toEqual([])
      expect((await store.space()).usedBytes).toBe(blockBytes(file) + blockBytes(other))
      await expect(store.readChunk(file.cid, 0)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' })
    })

    test('[BLOB-6] a store that is full says how much is needed and how much there is, and keeps what it has', async () => {
      const small = await fixture.create({ capacityBytes: 200_000 + blockBytes(file) })
      await small.start()
      await putBlocks(small, file)
      expect((await small.space()).availableBytes).toBe(200_000)
      await expect(small.createDraft(200_001)).rejects.toMatchObject({
        code: 'INSUFFICIENT_STORAGE',
        details: { requiredBytes: 200_001, availableBytes: 200_000 }
      })
      const part = await small.openPart(file.cid)
      const error: unknown = await writeChunks(part, file, part.held.zeros()).catch((reason: unknown) => reason)
      const writtenBytes = part.chunks.bytesIn(part.held)
      expect(writtenBytes).toBeGreaterThan(0)
      expect(error).toMatchObject({
        code: 'INSUFFICIENT_STORAGE',
        details: { requiredBytes: 600_000 - writtenBytes, availableBytes: 200_000 - writtenBytes }
      })
      await part.close()
      expect((await small.openPart(file.cid)).held.ones).toBe(part.held.ones)
      await small.stop()
    })

    test('stop is harmless twice and before start', async () => {
      const other = await fixture.create()
      await other.stop()
      await other.start()
      await other.start()
      await other.stop()
      await other.stop()
    })
  })
}

function blockBytes(file: TestFile): number {
  return file.blocks.reduce((total, block) => total + block.bytes.byteLength, 0)
}
