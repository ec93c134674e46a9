import '../../../src/core/polyfill.js'
import { spawn, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.js'
import { errorCode, MurmurateError } from '../../../src/core/errors.js'
import { ProcessLock } from '../../../src/core/process-lock.js'
import { compiled, type Compiled } from '../../support/compiled.js'
import { inTime } from '../../support/until.js'

let directory: string
let program: Compiled
let children: ChildProcess[] = []

beforeAll(async () => {
  program = await compiled('core/process-lock.ts')
})

afterAll(() => program.remove())

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-lock-'))
})

afterEach(async () => {
  for (const child of children) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  }
  children = []
  await rm(directory, { recursive: true, force: true })
})

const make = (path = directory): ProcessLock => new ProcessLock(path, systemEnvironment.random)

/** A process that waits for a line, tries to take the lock, says how that went, and stays. */
function child(): { readonly process: ChildProcess; take(): Promise<string> } {
  const script = `
    import { randomBytes } from 'node:crypto'
    import { ProcessLock } from ${JSON.stringify(program.url)}
    const lock = new ProcessLock(${JSON.stringify(directory)}, { bytes: (n) => new Uint8Array(randomBytes(n)), float: Math.random })
    process.stdin.on('data', () => lock.start().then(() => 'held', (error) => error.code + ' ' + error.details?.pid).then((text) => console.log(text)))
    setInterval(() => {}, 1e6)
    console.log('up')
  `
  const process = spawn(globalThis.process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit']
  })
  children.push(process)
  const lines: string[] = []
  let wake: (() => void) | undefined
  process.stdout.setEncoding('utf8').on('data', (text: string) => {
    lines.push(...text.split('\n').filter((line) => line !== ''))
    wake?.()
  })
  const line = async (): Promise<string> => {
    while (lines.length === 0) await new Promise<void>((resolve) => (wake = resolve))
    return lines.shift() ?? ''
  }
  const up = line()
  return {
    process,
    async take() {
      await inTime('the child is up', up)
      process.stdin.write('go\n')
      return inTime('the child has tried', line())
    }
  }
}

async function kill(process: ChildProcess): Promise<void> {
  const exited = once(process, 'exit')
  process.kill('SIGKILL')
  await inTime('the end of the child', exited)
}

test('[ID-11] a second process is refused with DATA_DIR_IN_USE and the pid of the first', async () => {
  const lock = make()
  await lock.start()
  const other = child()
  expect(await other.take()).toBe(`DATA_DIR_IN_USE ${process.pid}`)
  await lock.stop()
  expect(await other.take()).toBe('held')
  const error: unknown = await lock.start().catch((caught: unknown) => caught)
  expect(errorCode(error)).toBe('DATA_DIR_IN_USE')
  expect((error as MurmurateError).details).toEqual({ path: directory, pid: other.process.pid })
})

test('[ID-11] the same process cannot run twice on a directory', async () => {
  const [one, two] = [make(), make()]
  await one.start()
  await one.start()
  expect(await two.start().catch(errorCode)).toBe('DATA_DIR_IN_USE')
  await two.stop()
  expect(await two.start().catch(errorCode)).toBe('DATA_DIR_IN_USE')
  await one.stop()
  await one.stop()
  await two.start()
  await two.stop()
  expect(await readdir(directory)).toEqual([])
})

test('[ID-11] the lock of a process that was killed is taken over', async () => {
  const other = child()
  expect(await other.take()).toBe('held')
  await kill(other.process)
  const lock = make()
  await lock.start()
  expect(await readdir(directory)).toEqual(['lock'])
  expect(JSON.parse(await readFile(join(directory, 'lock'), 'utf8'))).toMatchObject({ pid: process.pid })
  expect((await stat(join(directory, 'lock'))).mode & 0o777).toBe(0o600)
  await lock.stop()
})

test('[ID-11] a lock whose process id belongs to another process by now, or that a power cut emptied, locks nobody out', async () => {
  for (const text of [JSON.stringify({ pid: process.pid, startedAt: '1' }), '', '{"pid":', 'null']) {
    await writeFile(join(directory, 'lock'), text)
    const lock = make()
    await lock.start()
    await lock.stop()
  }
  expect(await readdir(directory)).toEqual([])
})

test('[ID-11] a process that has ended, and that its parent has not asked after, holds no lock', async () => {
  // The shell becomes a program that never asks after its child.
  const parent = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 1000'], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(parent)
  const [data] = (await inTime('the pid', once(parent.stdout, 'data'))) as [Buffer]
  const pid = Number(data.toString())
  const stateOf = async (): Promise<string[]> =>
    (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /, '').split(' ')
  while ((await stateOf())[0] !== 'Z') await new Promise((resolve) => setImmediate(resolve))
  await writeFile(join(directory, 'lock'), JSON.stringify({ pid, startedAt: (await stateOf())[19] }))
  const lock = make()
  await lock.start()
  await lock.stop()
})

const dead = JSON.stringify({ pid: 2 ** 22 + 1, startedAt: '1', nonce: 'dead' })

test('[ID-11] of many that race for the lock of a dead process exactly one gets it', async () => {
  for (let round = 0; round < 100; round++) {
    await writeFile(join(directory, 'lock'), dead + ' '.repeat(round))
    const locks = Array.from({ length: 8 }, () => make())
    const results = await Promise.all(locks.map((lock) => lock.start().then(() => 'held', errorCode)))
    expect(results.filter((result) => result !== 'DATA_DIR_IN_USE')).toEqual(['held'])
    await Promise.all(locks.map((lock) => lock.stop()))
    expect((await readdir(directory)).filter((name) => name === 'lock')).toEqual([])
  }
})

test('[ID-11] of many that race for a new directory exactly one gets it', async () => {
  for (let round = 0; round < 20; round++) {
    const locks = Array.from({ length: 8 }, () => make(join(directory, `${round}`)))
    const results = await Promise.all(locks.map((lock) => lock.start().then(() => 'held', errorCode)))
    expect(results.filter((result) => result !== 'DATA_DIR_IN_USE')).toEqual(['held'])
    expect(await readdir(join(directory, `${round}`))).toEqual(['lock'])
    await Promise.all(locks.map((lock) => lock.stop()))
  }
})

test('[ID-11] of several processes that race for the lock of a dead one exactly one gets it', async () => {
  const first = child()
  expect(await first.take()).toBe('held')
  await kill(first.process)
  const others = Array.from({ length: 4 }, () => child())
  const results = await Promise.all(others.map((other) => other.take()))
  expect(results.filter((result) => result === 'held')).toHaveLength(1)
  expect(results.filter((result) => result.startsWith('DATA_DIR_IN_USE'))).toHaveLength(3)
})

test('[ID-11] a process that died while it took over a dead lock stops nobody, and still only one gets it', async () => {
  const hash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16)
  const claimant = dead.replace('dead', 'claimant')
  for (let round = 0; round < 50; round++) {
    await writeFile(join(directory, 'lock'), dead)
    await writeFile(join(directory, `lock.claim.${hash(dead)}`), claimant)
    if (round % 2 === 0) await writeFile(join(directory, `lock.claim.${hash(`${dead} ${claimant}`)}`), '')
    const locks = Array.from({ length: 8 }, () => make())
    const results = await Promise.all(locks.map((lock) => lock.start().then(() => 'held', errorCode)))
    expect(results.filter((result) => result !== 'DATA_DIR_IN_USE')).toEqual(['held'])
    await Promise.all(locks.map((lock) => lock.stop()))
    await rm(join(directory, 'lock'), { force: true })
  }
})

test('[ID-11] who claimed a dead lock and then found it taken leaves no claim: alive, it would stop the next takeover', async () => {
  await writeFile(join(directory, 'lock'), dead)
  const kill = vi.spyOn(process, 'kill').mockImplementationOnce(() => {
    // While the owner is looked for, another process takes the lock over.
    writeFileSync(join(directory, 'lock'), JSON.stringify({ pid: process.pid, startedAt: '', nonce: 'winner' }))
    throw Object.assign(new Error('no such process'), { code: 'ESRCH' })
  })
  await expect(make().start()).rejects.toMatchObject({ code: 'DATA_DIR_IN_USE' })
  kill.mockRestore()
  expect(await readdir(directory)).toEqual(['lock'])
})

test('[ID-11] a directory that is a file is DATA_DIR_UNREADABLE, and so is one below a file', async () => {
  await writeFile(join(directory, 'file'), '')
  for (const path of [join(directory, 'file'), join(directory, 'file/below')]) {
    const lock = make(path)
    const error: unknown = await lock.start().catch((caught: unknown) => caught)
    expect(errorCode(error)).toBe('DATA_DIR_UNREADABLE')
    expect((error as MurmurateError).details).toEqual({ path })
    await lock.stop()
  }
})

test('[ID-11] a directory that is missing is made, and stopping what never started does nothing', async () => {
  const path = join(directory, 'a/b')
  const lock = make(path)
  await lock.stop()
  await lock.start()
  expect((await stat(path)).mode & 0o777).toBe(0o700)
  await rm(join(path, 'lock'))
  await lock.stop()
})
