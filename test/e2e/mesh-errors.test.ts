import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { killRuns, Run } from '../support/command.js'
import { until } from '../support/until.js'

let directory: string
let a: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-mesh-'))
  a = join(directory, 'a')
  await new Run('init', '--data-dir', a).ends(0)
})

afterEach(async () => {
  killRuns()
  await rm(directory, { recursive: true, force: true })
})

async function ticketOf(run: Run): Promise<string> {
  await until('a ticket', () => run.result.includes('\n'), 30_000)
  return run.result.split('\n')[0] ?? ''
}

async function fails(exitCode: number, args: string[], ...texts: string[]): Promise<void> {
  const { output } = await new Run(...args).ends(exitCode)
  for (const text of texts) expect(output).toContain(text)
}

it('[CLI-8] an invitation that nobody uses, or that is withdrawn, ends with 1 and its ticket is worth nothing', async () => {
  const invite = ['invite', '--data-dir', a, '--address', '127.0.0.1', '--lifetime']
  const short = new Run(...invite, '1s', '--json')
  await short.ends(1)
  expect(JSON.parse(short.result.trim().split('\n')[1] ?? '')).toMatchObject({ error: { code: 'TICKET_EXPIRED' } })
  const withdrawn = new Run(...invite, '10m')
  const ticket = await ticketOf(withdrawn)
  withdrawn.child.kill('SIGINT')
  expect((await withdrawn.ends(1)).output).toContain('withdrawn')
  await fails(1, ['join', ticket, '--data-dir', join(directory, 'b')], 'TICKET_UNANSWERED', 'ask for a new ticket')
})

it('[CLI-9] a directory that belongs to a mesh is not put into another, and keeps what it has', async () => {
  const invite = new Run('invite', '--data-dir', a, '--address', '127.0.0.1')
  const ticket = await ticketOf(invite)
  const before = await readdir(a)
  await fails(1, ['init', '--data-dir', a], 'MESH_EXISTS', 'murmurate up')
  await fails(1, ['join', ticket, '--data-dir', a], 'MESH_EXISTS')
  expect(await readdir(a)).toEqual(before)
  // The ticket was not shown to anybody: it is still good, here from the standard input.
  const join_ = new Run('join', '-', '--data-dir', join(directory, 'b'))
  join_.child.stdin.end(`${ticket}\n`)
  await join_.ends(0)
  await invite.ends(0)
})

it('[CLI-9] nor is one that was run with a secret file', async () => {
  const [old, secret] = [join(directory, 'old'), join(directory, 'secret')]
  await writeFile(secret, (await new Run('secret').ends(0)).result)
  const up = new Run(
    'up',
    '--data-dir',
    old,
    '--secret-file',
    secret,
    '--no-discovery',
    '--listen',
    '/ip4/127.0.0.1/tcp/0'
  )
  await until('an address', () => up.output.includes('listens on'), 30_000)
  up.child.kill('SIGTERM')
  await up.ends(0)
  await fails(1, ['init', '--data-dir', old], 'MESH_EXISTS', 'secret file')
  await fails(2, ['up', '--data-dir', a, '--secret-file', secret], 'leave --secret-file out')
})

it('[CLI-10] a directory without a mesh, a damaged or open mesh.json, and a malformed ticket are told', async () => {
  const none = join(directory, 'none')
  for (const command of [['up'], ['invite'], ['keys', 'list'], ['keys', 'rotate'], ['keys', 'create']]) {
    await fails(1, [...command, '--data-dir', none], 'MESH_MISSING', 'murmurate init')
  }
  await fails(1, ['join', 'murmurate-ticket-1:abc', '--data-dir', none], 'TICKET_MALFORMED', 'Copy it whole')
  await expect(stat(none)).rejects.toThrow('ENOENT')
  await chmod(join(a, 'mesh.json'), 0o644)
  await fails(1, ['up', '--data-dir', a], 'MESH_UNREADABLE', 'chmod 600')
  await writeFile(join(a, 'mesh.json'), '{"version":1,"secret":"hunter2"}', { mode: 0o600 })
  await chmod(join(a, 'mesh.json'), 0o600)
  const { output } = await new Run('up', '--data-dir', a).ends(1)
  expect(output).toContain('MESH_UNREADABLE')
  expect(output).not.toContain('hunter2')
})

it('[CLI-14] the commands in the README exist, with their options', async () => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8')
  const lines = Array.from(readme.matchAll(/^murmurate ((?:keys )?[a-z]+)(.*)$/gm), ([, command = '', rest = '']) => ({
    command,
    flags: Array.from(rest.replace(/#.*/, '').matchAll(/--[a-z-]+/g), ([flag]) => flag)
  }))
  expect(lines.length).toBeGreaterThan(8)
  const commands = new Set(lines.map(({ command }) => command))
  for (const command of commands) {
    const { output } = await new Run(...command.split(' '), '--help').ends(0)
    for (const { flags } of lines.filter((line) => line.command === command)) {
      for (const flag of flags) expect(output, command).toContain(flag)
    }
  }
})

it('[CLI-11] wrong usage ends with 2 and says what is expected', async () => {
  const id = '12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5'
  const data = ['--data-dir', a]
  await fails(2, ['init'], '--data-dir')
  await fails(2, ['init', ...data, '--open', '--members-list'], 'cannot be used with')
  await fails(2, ['join', ...data], 'missing required argument')
  await fails(2, ['invite', ...data, '--lifetime', '10'], 'such as 10m')
  await fails(2, ['invite', ...data, '--lifetime', '30d'], 'at most 7d')
  await fails(2, ['invite', ...data, '--port', '65536'], '65535')
  await fails(2, ['invite', ...data, '--role', 'king'], 'operator')
  await fails(2, ['keys', 'add', 'nobody', '--role', 'operator', ...data], 'nobody')
  await fails(2, ['keys', 'add', id, ...data], '--role')
  await fails(2, ['keys', 'threshold', '0', ...data], 'at least 1')
  await fails(2, ['keys', 'members', 'list', ...data], '--of')
  await fails(2, ['keys', 'members', 'open', '--of', id, ...data], '--of')
  await fails(2, ['keys', 'frobnicate'], 'unknown command')
  await fails(2, ['up', ...data, '--publish', 'detector'], 'model@version=file')
})

it('[CLI-12] a change that changes nothing, or cannot be, is refused by name', async () => {
  const data = ['--data-dir', a, '--no-discovery']
  const id = '12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5'
  await fails(1, ['keys', 'remove', id, '--role', 'operator', ...data], 'INVALID_REQUEST', 'is no operator')
  await fails(1, ['keys', 'releases', '2', ...data], 'INVALID_REQUEST', 'there are 1')
  await fails(1, ['keys', 'threshold', '2', ...data], 'INVALID_REQUEST', 'threshold')
  await fails(1, ['keys', 'apply', join(directory, 'no'), ...data], 'INVALID_REQUEST', 'cannot be read')
  await writeFile(join(directory, 'draft'), 'murmurate-root-1:AAAA')
  await fails(1, ['keys', 'apply', join(directory, 'draft'), ...data], 'MALFORMED')
  await fails(1, ['invite', '--data-dir', a, '--address', 'a b'], 'INVALID_REQUEST', 'no host name')
})

it('[CLI-13] what no node takes is said not to be in force', async () => {
  const up = new Run('up', '--data-dir', a, '--no-discovery', '--listen', '/ip4/127.0.0.1/tcp/0')
  await until('an address', () => up.output.includes('listens on'), 30_000)
  await writeFile(join(a, 'addresses'), '[]')
  await fails(1, ['keys', 'releases', '1', '--data-dir', a, '--no-discovery'], 'ROOT_UNDELIVERED', '--peer')
})
