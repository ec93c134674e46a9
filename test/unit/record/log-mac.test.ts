import '../../../src/core/polyfill.js'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { decode, encode } from '@ipld/dag-cbor'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parsePageId } from '../../../src/core/ids.js'
import { keyPairFromSeed, recordLogKey } from '../../../src/identity/keypair.js'
import type { LogRecord } from '../../../src/record/entry-log.js'
import { RecordLog } from '../../../src/record/log.js'

const key = new Uint8Array(32).fill(7)
const record: LogRecord = { page: parsePageId('note/a'), update: new Uint8Array(100).fill(3) }
let directory: string
let path: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-log-'))
  path = join(directory, 'log')
})
afterEach(() => rm(directory, { recursive: true, force: true }))

async function loaded(readKey = key): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  const log = new RecordLog(path, readKey)
  await log.open((found) => records.push(found))
  await log.close()
  return records
}

/** Writes one frame with a right checksum, whatever is in it. */
async function writeFrame(payload: Uint8Array): Promise<void> {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(payload.length, 0)
  head.writeUInt32BE(crc32(payload), 4)
  await writeFile(path, Buffer.concat([head, payload]))
}

async function payloadOf(written: LogRecord): Promise<unknown[]> {
  const log = new RecordLog(path, key)
  await log.open(() => {})
  await log.replace([written])
  await log.close()
  return decode<unknown[]>((await readFile(path)).subarray(8))
}

test('[REC-72] what was put into the log is handed out as verified, appended or rewritten', async () => {
  const log = new RecordLog(path, key)
  await log.open(() => {})
  await log.replace([record])
  log.enqueue(record)
  await log.close()
  expect(await loaded()).toEqual([record, record].map((one) => ({ ...one, isVerified: true })))
})

test('[REC-72] the log of another key, or of a version without MACs, is handed out as not verified', async () => {
  const [page, update] = await payloadOf(record)
  expect(await loaded(new Uint8Array(32).fill(8))).toEqual([{ ...record, isVerified: false }])
  await writeFrame(encode([page, update]))
  expect(await loaded()).toEqual([{ ...record, isVerified: false }])
})

test('[REC-72] a MAC vouches for its page and its bytes alone', async () => {
  const [page, update, mac] = await payloadOf(record)
  const other = new Uint8Array(100).fill(4)
  for (const forged of [
    ['note/b', update, mac],
    [page, other, mac],
    [page, update, new Uint8Array(16)],
    [page, update, new Uint8Array(0)],
    [page, update, (mac as Uint8Array).subarray(0, 15)]
  ]) {
    await writeFrame(encode(forged))
    expect(await loaded()).toMatchObject([{ isVerified: false }])
  }
  await writeFrame(encode([page, update, mac]))
  expect(await loaded()).toMatchObject([{ isVerified: true }])
})

test('[REC-72] the key of the MACs follows from the seed, and tells nothing of it', async () => {
  const [one, two] = [
    await keyPairFromSeed(new Uint8Array(32).fill(1)),
    await keyPairFromSeed(new Uint8Array(32).fill(2))
  ]
  expect(recordLogKey(one)).toHaveLength(32)
  expect(recordLogKey(one)).toEqual(recordLogKey(await keyPairFromSeed(new Uint8Array(32).fill(1))))
  expect(recordLogKey(one)).not.toEqual(recordLogKey(two))
  expect(recordLogKey(one)).not.toEqual(one.seed)
})
