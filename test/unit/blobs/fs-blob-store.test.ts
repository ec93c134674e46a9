import { cp, mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.js'
import { Bitfield } from '../../../src/blobs/bitfield.js'
import type { Part } from '../../../src/blobs/blob-store.js'
import { fsBlobStoreDefaults } from '../../../src/blobs/fs-defaults.js'
import { FsBlobStore } from '../../../src/blobs/fs-blob-store.js'
import { readHeld, writeHeld } from '../../../src/blobs/held-journal.js'
import { putBlocks, putFile, testFile, writeChunks, type TestFile } from '../../contracts/blob-store-contract.js'
import { seededBytes } from '../../support/safetensors.js'
import { VirtualClock } from '../../support/virtual-clock.js'
import { until } from '../../support/until.js'

let directory: string
let file: TestFile
const stores: FsBlobStore[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-fs-'))
  file = await testFile('first')
})

afterEach(async () => {
  vi.restoreAllMocks()
  for (const store of stores.splice(0)) await store.stop()
  await rm(directory, { recursive: true, force: true })
})

async function openStore(
  name = 'store',
  init: Partial<ConstructorParameters<typeof FsBlobStore>[0]> = {}
): Promise<FsBlobStore> {
  const store = new FsBlobStore({ directory: join(directory, name), environment: systemEnvironment, ...init })
  stores.push(store)
  await store.start()
  return store
}

/** What a process that is killed at this moment leaves behind. */
async function killedCopy(): Promise<FsBlobStore> {
  await cp(join(directory, 'store'), join(directory, 'copy'), { recursive: true })
  return openStore('copy')
}

async function openedPart(store: FsBlobStore): Promise<Part> {
  await putBlocks(store, file)
  return store.openPart(file.cid)
}

const at = (...names: string[]): string => join(directory, ...names)

describe('after the process was killed', () => {
  /** Waits until the store has noted that many chunks of the part. */
  async function noted(count: number): Promise<void> {
    const size = async (): Promise<number> => (await stat(at('store/parts', `${file.cid}.recent`))).size
    await until('the notes', async () => (await size().catch(() => 0)) === count * 4)
  }

  test('[BLOB-20] chunks that were synced are held, and later ones too once they were hashed again', async () => {
    const part = await openedPart(await openStore())
    await writeChunks(part, file, [0, 1])
    await part.flush()
    await writeChunks(part, file, [2])
    await noted(3)
    const again = await (await killedCopy()).openPart(file.cid)
    expect([...again.held.zeros()]).toEqual([...Array.from({ length: part.chunks.count }).keys()].slice(3))
  })

  test('[BLOB-20] a file that was published over a part leaves no notes of it', async () => {
    const store = await openStore()
    const part = await openedPart(store)
    await writeChunks(part, file, [0, 1])
    await noted(2)
    const draft = await store.createDraft(file.bytes.byteLength)
    await draft.write(file.bytes, 0)
    await draft.commit(file.cid)
    expect(await readdir(at('store/parts'))).toEqual([])
    await part.close()
  })

  test('[BLOB-20] a chunk that was noted but did not reach the disk is missing', async () => {
    const part = await openedPart(await openStore())
    await writeChunks(part, file, [0, 1, 2])
    await noted(3)
    await cp(at('store'), at('copy'), { recursive: true })
    const data = await open(at('copy/parts', `${file.cid}.part`), 'r+')
    await data.write(Buffer.alloc(1), 0, 1, part.chunks.offset(1))
    await data.close()
    const again = await (await openStore('copy')).openPart(file.cid)
    expect([...again.held.zeros()]).toEqual(
      [...Array.from({ length: part.chunks.count }).keys()].filter((chunk) => chunk === 1 || chunk > 2)
    )
  })

  test('a part whose journal is damaged or lost is of no use, and is removed', async () => {
    for (const harm of [
      () => truncate(at('store/parts', `${file.cid}.held`), 20),
      () => rm(at('store/parts', `${file.cid}.held`))
    ]) {
      const store = await openStore()
      const part = await openedPart(store)
      await writeChunks(part, file, [0, 1])
      await part.close()
      await store.stop()
      await rm(at('store/parts', `${file.cid}.recent`))
      await harm()
      const again = await openStore()
      expect(again.files()).toEqual([])
      expect(await readdir(at('store/parts'))).toEqual([])
      await again.stop()
    }
  })

  test('a part whose data is gone holds nothing', async () => {
    const store = await openStore()
    const part = await openedPart(store)
    await writeChunks(part, file, [0, 1])
    await part.close()
    await rm(at('store/parts', `${file.cid}.part`))
    expect((await store.openPart(file.cid)).held.ones).toBe(0)
  })

  test('a part whose data was cut short holds nothing after a restart', async () => {
    const store = await openStore()
    const part = await openedPart(store)
    await writeChunks(part, file, [0, 1])
    await part.close()
    await store.stop()
    await truncate(at('store/parts', `${file.cid}.part`), 1000)
    expect((await openStore()).files()).toEqual([])
  })

  test('a file that was just put in its place is complete, whatever is left beside it', async () => {
    const store = await openStore()
    await putFile(store, file)
    const count = (await store.state(file.cid))?.chunks.count ?? 0
    await store.stop()
    await writeHeld(at('store/parts', `${file.cid}.held`), Bitfield.full(count))
    const again = await openStore()
    expect(again.path(file.cid)).toBeDefined()
  })

  test('[BLOB-5] drafts and half-written small files are removed', async () => {
    const store = await openStore()
    const draft = await store.createDraft(1000)
    await writeFile(at('store/blocks/bafy.tmp'), 'half')
    await writeFile(at('store/parts/x.held.tmp'), 'half')
    const copy = await killedCopy()
    await draft.discard()
    expect([...(await readdir(at('copy/parts'))), ...(await readdir(at('copy/blocks')))]).toEqual([])
    expect((await copy.space()).usedBytes).toBe(0)
  })

  test('a file that somebody cut short is not complete', async () => {
    const store = await openStore()
    await putFile(store, file)
    await store.stop()
    await truncate(at('store/files', file.cid), 1000)
    const again = await openStore()
    expect(again.path(file.cid)).toBeUndefined()
  })

  test('a file whose blocks were lost is taken up again when they come back', async () => {
    const store = await openStore()
    await putFile(store, file)
    await store.stop()
    await rename(at('store/blocks'), at('away'))
    const again = await openStore()
    expect(again.files()).toEqual([])
    await putBlocks(again, file)
    expect((await again.state(file.cid))?.isComplete).toBe(true)
    expect(again.path(file.cid)).toBeDefined()
  })
})

describe('the journal never says more than is on disk', () => {
  test('it is written after the data was synced, not before', async () => {
    const part = await openedPart(await openStore())
    const { promise, resolve } = Promise.withResolvers<void>()
    const datasync = vi.spyOn(await handlePrototype(), 'datasync').mockImplementationOnce(() => promise)
    await writeChunks(part, file, [0])
    const flushing = part.flush()
    await until('the sync', () => datasync.mock.calls.length === 1)
    expect(await readdir(at('store/parts'))).not.toContain(`${file.cid}.held`)
    resolve()
    await flushing
    expect((await readHeld(at('store/parts', `${file.cid}.held`)))?.ones).toBe(1)
  })

  test('a sync that fails is reported, and its chunks count as missing', async () => {
    const store = await openStore()
    const part = await openedPart(store)
    await writeChunks(part, file, [0])
    await part.flush()
    await writeChunks(part, file, [1, 2])
    const usedBytes = (await store.space()).usedBytes
    const error = Object.assign(new Error('i/o error'), { code: 'EIO' })
    vi.spyOn(await handlePrototype(), 'datasync').mockRejectedValueOnce(error)
    await expect(part.flush()).rejects.toMatchObject({ code: 'DATA_DIR_UNREADABLE', details: { code: 'EIO' } })
    expect([part.held.has(0), part.held.has(1), part.held.has(2)]).toEqual([true, false, false])
    expect((await store.space()).usedBytes).toBe(usedBytes - part.chunks.length(1) - part.chunks.length(2))
  })

  test('a disk that fills up is told with both numbers; what was written stays', async () => {
    const part = await openedPart(await openStore())
    await writeChunks(part, file, [0])
    const error = Object.assign(new Error('no space left'), { code: 'ENOSPC' })
    vi.spyOn(await handlePrototype(), 'write').mockRejectedValueOnce(error)
    await expect(writeChunks(part, file, [1])).rejects.toMatchObject({
      code: 'INSUFFICIENT_STORAGE',
      details: { requiredBytes: 600_000 - part.chunks.length(0), availableBytes: expect.any(Number) as number }
    })
    expect([part.held.has(0), part.held.has(1)]).toEqual([true, false])
    await writeChunks(part, file, [1])
  })

  test('data is synced after so many bytes, or after so long', async () => {
    const clock = new VirtualClock({ settleTurns: 3 })
    const environment = { clock, random: systemEnvironment.random }
    const part = await openedPart(await openStore('store', { environment, syncBytes: 200_000, syncMs: 2000 }))
    const datasync = vi.spyOn(await handlePrototype(), 'datasync')
    await writeChunks(part, file, [0])
    await clock.advance(1999)
    expect(datasync).not.toHaveBeenCalled()
    await clock.advance(1)
    await until('the sync after 2 s', async () => (await readHeld(at('store/parts', `${file.cid}.held`)))?.ones === 1)
    await writeChunks(part, file, [1, 2, 3, 4])
    await until(
      'the sync after 200 kB',
      async () => ((await readHeld(at('store/parts', `${file.cid}.held`)))?.ones ?? 0) > 1
    )
  })
})

test('a complete file is read-only, and nothing is left open or lying about', async () => {
  const store = await openStore()
  await putFile(store, file)
  expect((await stat(store.path(file.cid) ?? '')).mode & 0o777).toBe(0o444)
  await store.readChunk(file.cid, 0)
  await store.stop()
  const open = await openFiles()
  expect(open.filter((path) => path.startsWith(directory))).toEqual([])
  expect(await readdir(at('store/parts'))).toEqual([])
})

test('a damaged block counts as absent, and may come again', async () => {
  const store = await openStore()
  await putBlocks(store, file)
  const [block] = file.blocks
  if (block === undefined) throw new Error('no block')
  await writeFile(at('store/blocks', block.cid), 'damaged')
  expect(await store.getBlock(block.cid)).toBeUndefined()
  await store.putBlock(block.cid, block.bytes)
  expect(await store.getBlock(block.cid)).toBeDefined()
})

test('[BLOB-9] names on disk come from hashes alone', async () => {
  const store = await openStore()
  await putFile(store, file)
  await store.keep(file.cid)
  const names = (await readdir(at('store'), { recursive: true })).map((name) => name.split('/').at(-1) ?? '')
  for (const name of names) expect(name).toMatch(/^(blocks|roots|files|parts|b[a-z2-7]{58}(\.part|\.held)?)$/)
})

test('the documented defaults are those of the code', async () => {
  const text = await readFile(new URL('../../../src/blobs/fs-defaults.ts', import.meta.url), 'utf8')
  const documented = [...text.matchAll(/@default (\d+) \*\/\n {2}readonly (\w+)/g)].map(([, value, name]) => [
    name,
    Number(value)
  ])
  expect(Object.fromEntries(documented)).toEqual(fsBlobStoreDefaults)
})

async function handlePrototype(): Promise<Awaited<ReturnType<typeof open>>> {
  const path = at('handle')
  await writeFile(path, seededBytes('x', 1))
  const handle = await open(path, 'r')
  await handle.close()
  return Object.getPrototypeOf(handle) as Awaited<ReturnType<typeof open>>
}

/** The files that this process has open (Linux). */
async function openFiles(): Promise<string[]> {
  const { readlink } = await import('node:fs/promises')
  const numbers = await readdir('/proc/self/fd').catch(() => [])
  return Promise.all(numbers.map((number) => readlink(`/proc/self/fd/${number}`).catch(() => '')))
}

test('a file that is being removed does not come back when somebody asks for it meanwhile', async () => {
  const store = await openStore()
  await putFile(store, file)
  const removing = store.removeFile(file.cid)
  const asking: Promise<unknown>[] = []
  for (let turn = 0; turn < 100; turn++) {
    asking.push(store.state(file.cid))
    await Promise.resolve()
  }
  await Promise.all([removing, ...asking])
  expect(store.path(file.cid)).toBeUndefined()
  expect(store.files()).toEqual([])
})

test('[BLOB-5] a publication that cannot be put in its place leaves no part that seems whole', async () => {
  const store = await openStore()
  const part = await openedPart(store)
  await writeChunks(part, file, [0])
  const draft = await store.createDraft(file.bytes.byteLength)
  await draft.write(file.bytes, 0)
  await rm(at('store/files'), { recursive: true })
  await expect(draft.commit(file.cid)).rejects.toMatchObject({ code: 'DATA_DIR_UNREADABLE' })
  await part.close()
  await mkdir(at('store/files'))
  expect(store.path(file.cid)).toBeUndefined()
  const again = await store.openPart(file.cid)
  expect(again.held.isFull).toBe(false)
  await again.close()
})
