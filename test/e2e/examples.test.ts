import '../../src/core/polyfill.js'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Program, type ProgramOptions } from '../support/program.js'

const loopback = ['--listen', '/ip4/127.0.0.1/tcp/0']
const programs: Program[] = []
let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-examples-'))
})

afterEach(async () => {
  await Promise.all(programs.splice(0).map((program) => program.kill()))
  await rm(directory, { recursive: true, force: true })
})

function run(example: string, options: ProgramOptions = {}): Program {
  const program = new Program(`examples/${example}.js`, options)
  programs.push(program)
  return program
}

async function writeModel(): Promise<{ readonly path: string; readonly bytes: Buffer }> {
  const [path, bytes] = [join(directory, 'model.safetensors'), randomBytes(3 * 1024 * 1024)]
  await writeFile(path, bytes)
  return { path, bytes }
}

test('minimal-node ends by itself with --once, and keeps its id', async () => {
  const args = ['--once', '--data-dir', join(directory, 'node'), ...loopback]
  const first = await run('minimal-node', { args }).end()
  expect([first.code, first.errors]).toEqual([0, ''])
  expect(first.output).toMatch(/^node 12D3KooW\w+\nlistens on \/ip4\/127\.0\.0\.1\/tcp\/\d+\/p2p\/12D3KooW\w+\n/)
  const secret = /MESH_SECRET=(\S+)/.exec(first.output)?.[1] ?? ''
  const second = await run('minimal-node', { args, env: { MESH_SECRET: secret } }).end()
  expect(second.code).toBe(0)
  expect(second.output.split('\n')[0]).toBe(first.output.split('\n')[0])
  expect(second.output).not.toContain(secret)
})

test.each(['SIGINT', 'SIGTERM'] as const)('minimal-node stops on %s', async (signal) => {
  const program = run('minimal-node', { args: ['--data-dir', join(directory, 'node'), ...loopback] })
  await program.printed(/to join/)
  program.signal(signal)
  const { code, output, errors } = await program.end()
  expect([code, errors]).toEqual([0, ''])
  expect(output).toMatch(/stopped\n$/)
})

test.each(['a file made on the spot', 'a file given'])('publish-and-watch delivers %s', async (which) => {
  const args = which === 'a file given' ? [(await writeModel()).path] : []
  const sizeBytes = which === 'a file given' ? 3 * 1024 * 1024 : 4 * 1024 * 1024
  const { code, output, errors } = await run('publish-and-watch', { args }).end()
  expect([code, errors]).toEqual([0, ''])
  expect(output).toMatch(/1\.0\.0 complete: converged 1, in progress 0, pending 1, failed 0 of 2/)
  expect(output).toMatch(/watcher is blocked by insufficientGpuMemory: .*\n +required 8192 MiB, available 4096 MiB\n/)
  expect(output).toMatch(
    /1\.0\.1 complete: converged 2, in progress 0, pending 0, failed 0 of 2\nall nodes run 1\.0\.1/
  )
  expect(output).toContain(`publisher received 0 of ${sizeBytes} bytes`)
  expect(output).toContain(`watcher received ${sizeBytes} of ${sizeBytes} bytes`)
})

test('custom-runtime switches without a gap and refuses a version that fails its check', async () => {
  const { code, output, errors } = await run('custom-runtime').end()
  expect([code, errors]).toEqual([0, ''])
  const lines = output.trim().split('\n')
  const none = '{"version":null,"label":"no model yet"}'
  const [truck, bus] = ['{"version":"1.0.0","label":"truck"}', '{"version":"2.0.0","label":"bus"}']
  expect(lines).toEqual([
    `before: ${none}`,
    `while 1.0.0 is checked: ${none}`,
    '1.0.0 runs',
    `after 1.0.0: ${truck}`,
    `while 2.0.0 is checked: ${truck}`,
    '2.0.0 runs',
    `after 2.0.0: ${bus}`,
    `while 3.0.0 is checked: ${bus}`,
    // The node goes back: it loads the version before, which never stopped to answer, and checks it too.
    `while 2.0.0 is checked: ${bus}`,
    '3.0.0 was refused',
    '  deploymentFailed: 3.0.0: a person of 1 m x 2 m was taken for a bus',
    `after 3.0.0: ${bus}`
  ])
})

test('two-machines delivers to a node that is told where the first one is, and both stop on a signal', async () => {
  const { path, bytes } = await writeModel()
  const secretFile = join(directory, 'mesh.secret')
  const node = (name: string, more: readonly string[]): Program => {
    const own = ['--data-dir', join(directory, name), '--secret-file', secretFile]
    return run('two-machines', { args: [...own, ...loopback, '--no-discovery', ...more] })
  }
  const first = node('first', ['--publish', path])
  const [, address = ''] = await first.printed(/listens on (\S+)/)
  expect((await stat(secretFile)).mode & 0o777).toBe(0o600)
  const second = node('second', ['--peer', address])
  await Promise.all([first, second].map((program) => program.printed(/1\.0\.0: 2 of 2 converged/)))
  const received = join(directory, 'second', 'models', 'target_recognition', 'current', 'model.safetensors')
  expect((await readFile(received)).equals(bytes)).toBe(true)
  second.signal('SIGINT')
  await first.printed(/members: .*\(offline\)/)
  first.signal('SIGTERM')
  for (const program of [first, second]) {
    const { code, errors } = await program.end()
    expect([code, errors]).toEqual([0, ''])
  }
})
