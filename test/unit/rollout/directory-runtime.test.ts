import '../../../src/core/polyfill.js'
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { errorCode, messageOf } from '../../../src/core/errors.js'
import { parseModelId, parseVariantId, parseVersion } from '../../../src/core/ids.js'
import { directoryRuntime, type Command } from '../../../src/rollout/directory-runtime.js'
import type { Runtime, RuntimeArtifact } from '../../../src/rollout/runtime.js'
import { inTime, until } from '../../support/until.js'

const model = parseModelId('detector')
let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-runtime-'))
  await mkdir(join(directory, 'store'))
})

afterEach(() => rm(directory, { recursive: true, force: true }))

const at = (path: string): string => join(directory, 'models/detector', path)
const make = (check?: Command, checkTimeoutMs?: number): Runtime =>
  directoryRuntime({ directory: join(directory, 'models'), check, checkTimeoutMs })(model)

/** A version of one file that holds its own version, unless told otherwise. */
async function artifact(
  version: string,
  names: readonly string[] = ['model'],
  store = 'store'
): Promise<RuntimeArtifact> {
  await mkdir(join(directory, store), { recursive: true })
  const files = names.map((name, index) => ({
    name,
    sizeBytes: version.length,
    path: join(directory, store, `${version}-${index}`)
  }))
  for (const { path } of files) await writeFile(path, version)
  return { model, version: parseVersion(version), variant: parseVariantId('any'), files }
}

const present = (): Promise<string> => readFile(at('current/model'), 'utf8')

test('[ROLL-22] a version appears under "current", with files in folders', async () => {
  const runtime = make()
  await runtime.load(await artifact('1.0.0', ['model', 'config/tokenizer.json']), {})
  await runtime.check({})
  expect(await present()).toBe('1.0.0')
  expect(await readFile(at('current/config/tokenizer.json'), 'utf8')).toBe('1.0.0')
  expect(await readlink(at('current'))).toBe('versions/1.0.0_any')
})

test('[ROLL-22] a reader of "current" finds a whole version at every moment of 50 switches', async () => {
  const runtime = make()
  const versions = [await artifact('1.0.0'), await artifact('2.0.0'), await artifact('3.0.0')]
  for (const version of versions) await runtime.load(version, {})
  const seen = new Set<string>()
  const state = { done: false }
  const reading = (async () => {
    while (!state.done) seen.add(await present())
  })()
  try {
    for (let round = 0; round < 50; round++) {
      const next = versions[round % 3]
      if (next !== undefined) await runtime.load(next, {})
    }
  } finally {
    state.done = true
  }
  await reading
  expect(seen).toEqual(new Set(['1.0.0', '2.0.0', '3.0.0']))
})

test('[ROLL-22] the files of the version in service are replaced without a gap, too', async () => {
  const runtime = make()
  const [here, there] = [await artifact('1.0.0', ['model'], 'store'), await artifact('1.0.0', ['model'], 'moved')]
  await runtime.load(here, {})
  const state = { done: false }
  const reading = (async () => {
    while (!state.done) expect(await present()).toBe('1.0.0')
  })()
  for (let round = 0; round < 30; round++) await runtime.load(round % 2 === 0 ? there : here, {})
  state.done = true
  await reading
})

test('[ROLL-22] loading the version that is in service leaves everything untouched', async () => {
  const versions = [await artifact('1.0.0'), await artifact('2.0.0')] as const
  for (const version of versions) await make().load(version, {})
  const before = await stat(at('current/.'))
  const link = await readlink(at('current'))
  const restarted = make()
  await restarted.load(versions[1], {})
  await restarted.check({})
  const after = await stat(at('current/.'))
  expect([after.ino, after.ctimeMs, await readlink(at('current'))]).toEqual([before.ino, before.ctimeMs, link])
  // The version before stays too: going back to it needs nothing new.
  expect((await readdir(at('versions'))).sort()).toEqual(['1.0.0_any', '2.0.0_any'])
})

test('[ROLL-22] the version before stays, older ones go', async () => {
  const runtime = make()
  for (const version of ['1.0.0', '2.0.0', '3.0.0']) await runtime.load(await artifact(version), {})
  expect((await readdir(at('versions'))).sort()).toEqual(['2.0.0_any', '3.0.0_any'])
})

test('[ROLL-22] what is interrupted before the switch leaves the old version in service, and the next attempt succeeds', async () => {
  const runtime = make()
  await runtime.load(await artifact('1.0.0'), {})
  const next = await artifact('2.0.0')
  const stopped = new AbortController()
  stopped.abort()
  expect(await runtime.load(next, { signal: stopped.signal }).catch(errorCode)).toBe('ABORTED')
  expect(await present()).toBe('1.0.0')
  await runtime.check({})
  // What a process that was killed may leave behind.
  await mkdir(at('versions/.draft/model'), { recursive: true })
  await writeFile(at('current.draft'), 'x')
  await rm(at('versions/2.0.0_any'), { recursive: true })
  await mkdir(at('versions/2.0.0_any'))
  await make().load(next, {})
  expect(await present()).toBe('2.0.0')
  expect((await readdir(at('.'))).sort()).toEqual(['current', 'versions'])
})

test.each(['../escaped', 'a/../../escaped', '/escaped', '..', '.', '', 'a//b', 'a\\..\\..\\b', 'a\0b'])(
  '[ROLL-23] the file name %j never leaves the directory',
  async (name) => {
    const runtime = make()
    await runtime.load(await artifact('1.0.0'), {})
    expect(await runtime.load(await artifact('2.0.0', [name]), {}).catch(errorCode)).toBe('MALFORMED')
    expect(await present()).toBe('1.0.0')
    expect((await readdir(join(directory, 'models'))).sort()).toEqual(['detector'])
    expect((await readdir(directory)).sort()).toEqual(['models', 'store'])
  }
)

test('[ROLL-24] a file that is missing or has another size fails the check', async () => {
  const runtime = make()
  expect(await runtime.check({}).catch(errorCode)).toBe('RUNTIME_CHECK_FAILED')
  const version = await artifact('1.0.0')
  await runtime.load(version, {})
  await writeFile(version.files[0]?.path ?? '', 'torn')
  expect(await runtime.check({}).catch(messageOf)).toMatch(/has 4 bytes instead of 5/)
  await rm(version.files[0]?.path ?? '')
  expect(await runtime.check({}).catch(messageOf)).toMatch(/is missing/)
})

test('[ROLL-24] the check command is told what it checks; its exit code decides, its output is the reason', async () => {
  const script = 'echo "$MODEL_ID $MODEL_VERSION $MODEL_VARIANT $(cat $MODEL_DIRECTORY/model)" >&2; exit 3'
  const runtime = make(['sh', '-c', script])
  await runtime.load(await artifact('1.0.0'), {})
  const error: unknown = await runtime.check({}).catch((caught: unknown) => caught)
  expect(errorCode(error)).toBe('HOOK_FAILED')
  expect(messageOf(error)).toBe('The command sh failed with code 3: detector 1.0.0 any 1.0.0')
  await make(['true']).load(await artifact('1.0.0'), {})
})

test('[ROLL-24] a check command that says much may pass, and of one that fails the end is kept', async () => {
  const noise = 'head -c 5000000 /dev/zero | tr "\\0" x'
  const good = make(['sh', '-c', noise])
  await good.load(await artifact('1.0.0'), {})
  await good.check({})
  const bad = make(['sh', '-c', `${noise}; echo the end; exit 1`])
  await bad.load(await artifact('1.0.0'), {})
  const message = await bad.check({}).catch(messageOf)
  expect(message).toMatch(/the end$/)
  expect(String(message).length).toBeLessThan(400)
})

test('[ROLL-24] no shell reads the check command or what it is told', async () => {
  const runtime = make(['echo', '$(touch pwned)', '; touch pwned', '`touch pwned`'])
  await runtime.load(await artifact('1.0.0'), {})
  await runtime.check({})
  expect(await stat('pwned').catch(() => 'nothing')).toBe('nothing')
  const missing = make(['/no/such/command; true'])
  await missing.load(await artifact('1.0.0'), {})
  expect(await missing.check({}).catch(messageOf)).toMatch(/could not be run: spawn .* ENOENT/)
})

/** Whether a process with this id runs. */
const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('[ROLL-24] a check command that does not end in time is killed with all that it started', async () => {
  const pids = join(directory, 'pid')
  const runtime = make(['sh', '-c', `sleep 1000 & echo $! > ${pids}; wait`], 500)
  await runtime.load(await artifact('1.0.0'), {})
  const message = await inTime('the end of the check', runtime.check({}).catch(messageOf))
  expect(message).toBe('The command sh did not end within 500 ms')
  const pid = Number(await readFile(pids, 'utf8'))
  await until('the child is gone', () => !isRunning(pid))
})

test('[ROLL-24] an abort kills the check command with all that it started', async () => {
  const pids = join(directory, 'pid')
  const runtime = make(['sh', '-c', `sleep 1000 & echo $! > ${pids}; wait`])
  await runtime.load(await artifact('1.0.0'), {})
  const controller = new AbortController()
  const ended = runtime.check({ signal: controller.signal }).catch(errorCode)
  await until('it runs', async () => (await readFile(pids, 'utf8').catch(() => '')).endsWith('\n'))
  controller.abort()
  expect(await inTime('the end of the check', ended)).toBe('ABORTED')
  const pid = Number(await readFile(pids, 'utf8'))
  await until('the child is gone', () => !isRunning(pid))
})

test('[ROLL-22] unloading takes the model out of service; it can come back', async () => {
  const runtime = make()
  const version = await artifact('1.0.0')
  await runtime.unload({})
  await runtime.load(version, {})
  await runtime.unload({})
  expect(await stat(at('current')).catch(() => 'nothing')).toBe('nothing')
  expect(await runtime.check({}).catch(errorCode)).toBe('RUNTIME_CHECK_FAILED')
  await runtime.load(version, {})
  expect(await present()).toBe('1.0.0')
})
