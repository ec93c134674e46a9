import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.js'
import { errorCode } from '../../../src/core/errors.js'
import { ProcessLock } from '../../../src/core/process-lock.js'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-lock-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

const makeLock = (): ProcessLock => new ProcessLock(directory, systemEnvironment.random)
/** The id of a process that has ended. */
const deadPid = (): number => spawnSync('true').pid

/** Starts many at once; how many have it, and with what the others failed. */
async function race(count: number): Promise<{ held: number; codes: Set<string | undefined> }> {
  const outcomes = await Promise.allSettled(Array.from({ length: count }, () => makeLock().start()))
  const codes = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [errorCode(outcome.reason)] : []))
  return { held: count - codes.length, codes: new Set(codes) }
}

test('[ID-11] one at a time: the second is told which process has it', async () => {
  const [one, two] = [makeLock(), makeLock()]
  await one.start()
  await one.start()
  await expect(two.start()).rejects.toMatchObject({
    code: 'DATA_DIR_IN_USE',
    details: { path: directory, pid: process.pid }
  })
  await two.stop()
  await expect(two.start()).rejects.toMatchObject({ code: 'DATA_DIR_IN_USE' })
  await one.stop()
  await one.stop()
  await two.start()
  expect((await stat(join(directory, 'lock'))).mode & 0o077).toBe(0)
  await two.stop()
  expect(await readdir(directory)).toEqual([])
})

test.each<[string, () => string]>([
  ['a process that died', () => JSON.stringify({ pid: deadPid(), startedAt: '', nonce: 'a' })],
  ['a process whose id another one has by now', () => JSON.stringify({ pid: process.pid, startedAt: '1', nonce: 'a' })],
  ['nobody, as a power cut left it', () => ''],
  ['somebody unreadable', () => '{"pid": -1']
])('[ID-11] the lock of %s locks nobody out, and of many that want it one gets it', async (_, text) => {
  await writeFile(join(directory, 'lock'), text())
  expect(await race(8)).toEqual({ held: 1, codes: new Set(['DATA_DIR_IN_USE']) })
  expect(JSON.parse(await readFile(join(directory, 'lock'), 'utf8'))).toMatchObject({ pid: process.pid })
  expect((await readdir(directory)).filter((name) => name.includes('draft'))).toEqual([])
})

test('of many that want a new directory one gets it', async () => {
  expect(await race(8)).toEqual({ held: 1, codes: new Set(['DATA_DIR_IN_USE']) })
})

test('a place that is no directory is DATA_DIR_UNREADABLE', async () => {
  await writeFile(join(directory, 'file'), '')
  const lock = new ProcessLock(join(directory, 'file'), systemEnvironment.random)
  await expect(lock.start()).rejects.toMatchObject({ code: 'DATA_DIR_UNREADABLE' })
})
