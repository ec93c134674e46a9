import '../../../src/core/polyfill.js'
import { mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encode as encodeRaw } from '@ipld/dag-cbor'
import { crc32 } from 'node:zlib'
import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { parsePageId } from '../../../src/core/ids.js'
import type { LogRecord } from '../../../src/record/entry-log.js'
import { RecordLog } from '../../../src/record/log.js'

interface FileMethods {
  datasync(): Promise<void>
  sync(): Promise<void>
  appendFile(data: Uint8Array): Promise<void>
}

const key = new Uint8Array(32).fill(7)
let directory: string
let path: string
/** What all open files share; its methods are replaced to make the disk fail. */
let files: FileMethods

beforeAll(async () => {
  const file = await open('/dev/null')
  files = Object.getPrototypeOf(file) as FileMethods
  await file.close()
})
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-log-'))
  path = join(directory, 'record', 'log')
})
afterEach(async () => {
  vi.restoreAllMocks()
  await rm(directory, { recursive: true, force: true })
})

const record = (number: number, size = 10): LogRecord => {
  return { page: parsePageId(`note/${number}`), update: new Uint8Array(size).fill(number) }
}
const numbers = (records: readonly LogRecord[]): number[] => records.map(({ page }) => Number(page.slice(5)))

async function opened(at = path): Promise<{ log: RecordLog; loaded: LogRecord[] }> {
  const loaded: LogRecord[] = []
  const log = new RecordLog(at, key)
  await log.open((found) => loaded.push(found))
  return { log, loaded }
}

async function contents(at = path): Promise<number[]> {
  const { log, loaded } = await opened(at)
  await log.close()
  return numbers(loaded)
}

async function written(...records: readonly LogRecord[]): Promise<Buffer> {
  const { log } = await opened()
  for (const one of records) {
    log.enqueue(one)
    await log.flush()
  }
  await log.close()
  return readFile(path)
}

test('[REC-20] what was flushed is there again, in order; files are private', async () => {
  const { log, loaded } = await opened()
  expect(loaded).toEqual([])
  for (const number of [1, 2, 3]) log.enqueue(record(number))
  await log.flush()
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect((await stat(path)).size).toBe(log.size)
  const again = await opened()
  expect(again.loaded).toEqual([1, 2, 3].map((number) => ({ ...record(number), isVerified: true })))
  await again.log.close()
  await log.close()
})

test('close writes what is queued; it is harmless twice and when never opened', async () => {
  const { log } = await opened()
  log.enqueue(record(1))
  await log.close()
  await log.close()
  await new RecordLog(path, key).close()
  expect(await contents()).toEqual([1])
})

test('a log that is not open acknowledges nothing', async () => {
  const log = new RecordLog(path, key)
  log.enqueue(record(1))
  await expect(log.flush()).rejects.toMatchObject({ code: 'NOT_STARTED' })
})

test('[REC-21] every point at which a small log can be cut leaves its whole records', async () => {
  const bytes = await written(record(1), record(2, 300), record(3, 0))
  const ends = [1, 2, 3].map((count) => frameEnds(bytes)[count - 1] ?? 0)
  for (let cut = 0; cut <= bytes.length; cut++) {
    await writeFile(path, bytes.subarray(0, cut))
    const { log, loaded } = await opened()
    expect(numbers(loaded), `cut at ${cut}`).toEqual([1, 2, 3].slice(0, ends.filter((end) => end <= cut).length))
    log.enqueue(record(9))
    await log.close()
    expect((await contents()).at(-1)).toBe(9)
  }
})

test('[REC-21] one flipped bit anywhere loses that record and those behind it, and nothing wrong is handed out', async () => {
  const bytes = await written(record(1), record(2), record(3))
  const ends = frameEnds(bytes)
  for (let at = 0; at < bytes.length; at++) {
    await writeFile(
      path,
      bytes.map((byte, position) => (position === at ? byte ^ (1 << (at % 8)) : byte))
    )
    expect(await contents(), `byte ${at}`).toEqual([1, 2, 3].slice(0, ends.filter((end) => end <= at).length))
  }
})

test('[REC-21] zeros at the end, as a power cut leaves them, are cut off', async () => {
  const bytes = await written(record(1))
  for (const zeros of [1, 7, 8, 9, 16, 4096]) {
    await writeFile(path, Buffer.concat([bytes, Buffer.alloc(zeros)]))
    expect(await contents(), `${zeros} zeros`).toEqual([1])
    expect((await stat(path)).size).toBe(bytes.length)
  }
})

test('an intact frame that this version does not understand is passed over', async () => {
  const bytes = await written(record(1))
  for (const payload of [encodeRaw(['no page', new Uint8Array()]), encodeRaw({ later: 'form' }), Uint8Array.of(0xff)]) {
    const head = Buffer.alloc(8)
    head.writeUInt32BE(payload.length, 0)
    head.writeUInt32BE(crc32(payload), 4)
    await writeFile(path, Buffer.concat([bytes, head, payload, bytes]))
    expect(await contents()).toEqual([1, 1])
  }
})

test('[REC-22] replace leaves exactly its records, and what is queued after it', async () => {
  const { log } = await opened()
  for (const number of [1, 2, 3]) log.enqueue(record(number))
  const replacing = log.replace([record(3), record(4)])
  log.enqueue(record(5))
  const flushed = log.flush()
  log.enqueue(record(6))
  await Promise.all([replacing, flushed, log.flush()])
  log.enqueue(record(7))
  await log.flush()
  expect(log.size).toBe((await stat(path)).size)
  await log.close()
  expect(await contents()).toEqual([3, 4, 5, 6, 7])
  expect(await readdir(join(directory, 'record'))).toEqual(['log'])
})

test('[REC-22] what is queued while an earlier sync still runs is not lost by a replace behind it', async () => {
  const gate = Promise.withResolvers<void>()
  const { log } = await opened()
  const datasync = vi.spyOn(files, 'datasync').mockImplementationOnce(() => gate.promise)
  log.enqueue(record(1))
  const first = log.flush()
  await vi.waitFor(() => expect(datasync).toHaveBeenCalled())
  log.enqueue(record(2))
  const second = log.flush()
  const replacing = log.replace([record(1), record(2)])
  log.enqueue(record(3))
  const third = log.flush()
  gate.resolve()
  await Promise.all([first, second, replacing, third])
  await log.close()
  expect(await contents()).toEqual([1, 2, 3])
})

test('[REC-22] a crash during replace leaves the old file or the new one', async () => {
  const bytes = await written(record(1), record(2))
  // The draft is there, but was not renamed: whole or torn, it counts for nothing.
  await writeFile(`${path}.new`, bytes.subarray(0, 20))
  expect(await contents()).toEqual([1, 2])
  expect(await readdir(join(directory, 'record'))).toEqual(['log'])
})

test('[REC-22] a replace that fails leaves the old file, and appending goes on', async () => {
  const { log } = await opened()
  log.enqueue(record(1))
  await log.flush()
  vi.spyOn(files, 'sync').mockRejectedValueOnce(Object.assign(new Error('no space'), { code: 'ENOSPC' }))
  log.enqueue(record(2))
  const replacing = log.replace([record(8)])
  log.enqueue(record(3))
  const flushed = log.flush()
  await expect(replacing).rejects.toMatchObject({ code: 'INSUFFICIENT_STORAGE' })
  await flushed
  await log.close()
  expect(await contents()).toEqual([1, 2, 3])
  expect(await readdir(join(directory, 'record'))).toEqual(['log'])
})

test.each([
  ['datasync', 'EIO', 'DATA_DIR_UNREADABLE'],
  ['appendFile', 'ENOSPC', 'INSUFFICIENT_STORAGE']
] as const)('[REC-23] when %s fails, nothing is acknowledged from then on', async (method, code, expected) => {
  const { log } = await opened()
  log.enqueue(record(1))
  await log.flush()
  vi.spyOn(files, method).mockRejectedValueOnce(Object.assign(new Error('broken'), { code }))
  log.enqueue(record(2))
  await expect(log.flush()).rejects.toMatchObject({ code: expected, details: { path } })
  expect(log.failure?.code).toBe(expected)
  log.enqueue(record(3))
  await expect(log.flush()).rejects.toMatchObject({ code: expected })
  await expect(log.close()).rejects.toMatchObject({ code: expected })
  expect((await contents()).filter((number) => number !== 2)).toEqual([1])
})

test('[REC-23] a replace that succeeds mends the log', async () => {
  const { log } = await opened()
  vi.spyOn(files, 'datasync').mockRejectedValueOnce(new Error('broken'))
  log.enqueue(record(1))
  await expect(log.flush()).rejects.toThrow('broken')
  await log.replace([record(1)])
  expect(log.failure).toBeUndefined()
  log.enqueue(record(2))
  await log.flush()
  await log.close()
  expect(await contents()).toEqual([1, 2])
})

test('[REC-23] when the rename cannot be made durable, nothing is acknowledged, and nothing goes to the old file', async () => {
  const { log } = await opened()
  // The draft's own sync succeeds, that of the directory does not.
  vi.spyOn(files, 'sync').mockResolvedValueOnce().mockRejectedValueOnce(new Error('broken'))
  await expect(log.replace([record(1)])).rejects.toThrow('broken')
  log.enqueue(record(2))
  await expect(log.flush()).rejects.toThrow('broken')
  await log.replace([record(1), record(2)])
  log.enqueue(record(3))
  await log.flush()
  await log.close()
  expect(await contents()).toEqual([1, 2, 3])
})

test('records that are flushed together share a sync', async () => {
  const { log } = await opened()
  const datasync = vi.spyOn(files, 'datasync')
  const flushes = Array.from({ length: 100 }, (_, number) => {
    log.enqueue(record(number))
    return log.flush()
  })
  await Promise.all(flushes)
  expect(datasync.mock.calls.length).toBeLessThanOrEqual(2)
  await log.close()
})

test('a place that cannot be written is DATA_DIR_UNREADABLE', async () => {
  await writeFile(join(directory, 'file'), '')
  const log = new RecordLog(join(directory, 'file', 'log'), key)
  await expect(log.open(() => {})).rejects.toMatchObject({ code: 'DATA_DIR_UNREADABLE' })
})

function frameEnds(bytes: Buffer): number[] {
  const ends: number[] = []
  for (let at = 0; at < bytes.length;) {
    at += 8 + bytes.readUInt32BE(at)
    ends.push(at)
  }
  return ends
}
