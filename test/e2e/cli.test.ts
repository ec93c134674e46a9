import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { killRuns, Run } from '../support/command.js'
import { inTime, until } from '../support/until.js'

let directory: string
let secretFile: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-cli-'))
  secretFile = join(directory, 'secret')
  const run = new Run('secret')
  await inTime('a secret', run.exit)
  await writeFile(secretFile, run.output)
})

afterEach(async () => {
  killRuns()
  await rm(directory, { recursive: true, force: true })
})

function up(name: string, ...args: string[]): Run {
  const common = ['--data-dir', join(directory, name), '--secret-file', secretFile, '--name', name, '--no-discovery']
  return new Run('up', ...common, '--listen', '/ip4/127.0.0.1/tcp/0', ...args)
}

async function addressOf(run: Run): Promise<string> {
  await until('an address', () => run.output.includes('listens on'), 20_000)
  return /listens on (\S+)/.exec(run.output)?.[1] ?? ''
}

it('two machines: a file published on one runs on the other, and both end on request', async () => {
  const path = join(directory, 'model.bin')
  await writeFile(path, 'weights')
  const a = up('a', '--publish', `detector@1.0.0=${path}`)
  const b = up('b', '--peer', await addressOf(a))
  await until('convergence', () => a.output.includes('2 of 2 converged'), 30_000)
  expect(await readFile(join(directory, 'b', 'models', 'detector', 'current', 'model.bin'), 'utf8')).toBe('weights')
  a.child.kill('SIGTERM')
  b.child.kill('SIGINT')
  expect(await inTime('the end of both', Promise.all([a.exit, b.exit]), 20_000)).toEqual([0, 0])
})

it('Ctrl-C while a file is being published is a proper end', async () => {
  const path = join(directory, 'large.bin')
  await writeFile(path, '')
  // Sparse: takes no room, but longer to read than this test lasts.
  await truncate(path, 1024 ** 3)
  const run = up('a', '--publish', `detector@1.0.0=${path}`)
  await addressOf(run)
  run.child.kill('SIGINT')
  expect(await inTime('the end', run.exit, 20_000), run.output).toBe(0)
  expect(run.output).not.toContain('error')
})

describe('bad input ends with a code, what happened and what to do next', () => {
  async function fails(run: Run, exitCode: number, ...texts: string[]): Promise<void> {
    expect(await inTime('the end', run.exit, 20_000), run.output).toBe(exitCode)
    for (const text of texts) expect(run.output).toContain(text)
  }

  it('no command and unknown options', async () => {
    await fails(new Run('frobnicate'), 2, 'unknown command')
    await fails(new Run('demo', '--wrong'), 2, 'unknown option')
    await fails(new Run('--version'), 0, '0.1.0')
  })

  it('a secret of the wrong form', async () => {
    await writeFile(secretFile, 'hunter2')
    const run = up('a')
    await fails(run, 1, 'SECRET_MALFORMED', 'Copy it whole')
    expect(run.output).not.toContain('hunter2')
  })

  it('a secret file, a data directory, a port and a directory that cannot be used', async () => {
    await fails(
      new Run('up', '--data-dir', join(directory, 'a'), '--secret-file', join(directory, 'no')),
      1,
      'INVALID_REQUEST',
      'ENOENT'
    )
    await writeFile(join(directory, 'file'), '')
    await fails(up('file'), 1, 'DATA_DIR_UNREADABLE')
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const address = server.address()
    const port = typeof address === 'object' ? address?.port : 0
    await fails(up('a', '--listen', `/ip4/127.0.0.1/tcp/${port}`), 1, 'PORT_IN_USE', 'Choose another port')
    server.close()
    const first = up('a')
    await addressOf(first)
    await fails(up('a'), 1, 'DATA_DIR_IN_USE', String(first.child.pid))
  })

  it('a publication of the wrong form, a malformed version and a missing file', async () => {
    await fails(up('a', '--publish', 'detector'), 2, 'model@version=file')
    await fails(up('b', '--publish', 'detector@one=x'), 1, 'INVALID_REQUEST', 'semantic version')
    await fails(up('c', '--publish', `detector@1.0.0=${join(directory, 'no')}`), 1, 'INVALID_REQUEST', 'no')
    await fails(up('d', '--listen', 'nonsense'), 1, 'INVALID_REQUEST')
  })
})
