import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { allOutput, killRuns, Run } from '../support/command.js'
import { until } from '../support/until.js'

let directory: string
const founded: string[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-mesh-'))
})

afterEach(async () => {
  const shown = allOutput()
  killRuns()
  const secrets = await Promise.all(founded.splice(0).map(secretsOf))
  await rm(directory, { recursive: true, force: true })
  // Whatever a test did: no secret was ever printed, in no form.
  for (const secret of secrets.flat()) expect(shown).not.toContain(secret)
})

const at = (name: string): string => join(directory, name)

/** The mesh secret and the keys of a data directory, in the forms in which they could get out. */
async function secretsOf(name: string): Promise<string[]> {
  const { secret } = JSON.parse(await readFile(join(at(name), 'mesh.json'), 'utf8')) as { secret: string }
  const keys = await Promise.all(
    ['node.key', 'root.key'].map((file) => readFile(join(at(name), file)).catch(() => undefined))
  )
  const forms = keys.flatMap((key) => (key === undefined ? [] : [key.toString('hex'), key.toString('base64url')]))
  return [secret.replace('murmurate-secret-1:', ''), ...forms]
}

async function found(name: string, ...args: string[]): Promise<{ nodeId: string; rootKey: string; fleetId: string }> {
  const run = await new Run('init', '--data-dir', at(name), '--name', name, '--json', ...args).ends(0)
  founded.push(name)
  return JSON.parse(run.result) as { nodeId: string; rootKey: string; fleetId: string }
}

function up(name: string, ...args: string[]): Run {
  return new Run('up', '--data-dir', at(name), '--no-discovery', '--listen', '/ip4/127.0.0.1/tcp/0', ...args)
}

async function listening(run: Run): Promise<Run> {
  await until('an address', () => run.output.includes('listens on'), 30_000)
  return run
}

async function stopped(run: Run): Promise<void> {
  run.child.kill('SIGTERM')
  await run.ends(0)
}

/** An invitation that waits, and its ticket. */
async function invite(name: string, ...args: string[]): Promise<{ run: Run; ticket: string }> {
  const run = new Run('invite', '--data-dir', at(name), '--address', '127.0.0.1', '--no-discovery', ...args)
  await until('a ticket', () => run.result.includes('\n'), 30_000)
  return { run, ticket: run.result.split('\n')[0] ?? '' }
}

/** Brings a new node into the mesh of another; resolves to its id. */
async function bringIn(from: string, name: string, ...args: string[]): Promise<string> {
  const { run, ticket } = await invite(from, ...args)
  const joined = await new Run('join', ticket, '--data-dir', at(name), '--name', name, '--json').ends(0)
  await run.ends(0)
  founded.push(name)
  return (JSON.parse(joined.result) as { nodeId: string }).nodeId
}

function keys(name: string, ...args: string[]): Run {
  return new Run(
    'keys',
    ...args,
    '--data-dir',
    at(name),
    ...(args[0] === 'list' || args[0] === 'sign' || args[0] === 'create' ? [] : ['--no-discovery'])
  )
}

/** Waits until the last line about members has these names; who has no direct link to a node is offline for it. */
async function sees(run: Run, ...names: string[]): Promise<void> {
  const members = (): string[] => {
    const line = run.output.split('\n').findLast((text) => text.startsWith('members: ')) ?? ''
    return line.replace('members: ', '').replaceAll(' (offline)', '').split(', ').sort()
  }
  await saying(run, `members ${names.join()}`, () => members().join() === names.join())
}

async function saying(run: Run, what: string, condition = (): boolean => run.output.includes(what)): Promise<void> {
  await until(what, condition, 30_000).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${run.output}`)
  })
}

it('[CLI-1] [CLI-2] init, up, invite, join, up: two nodes are members for each other, and the ticket works once', async () => {
  const { nodeId, fleetId } = await found('a')
  for (const file of ['node.key', 'root.key', 'mesh.json', 'record/root']) {
    expect((await stat(join(at('a'), file))).mode & 0o777, file).toBe(0o600)
  }
  const a = await listening(up('a'))
  expect((await stat(join(at('a'), 'addresses'))).mode & 0o777).toBe(0o600)
  expect(a.output).toContain(`node ${nodeId}`)
  const { run, ticket } = await invite('a')
  const joined = await new Run('join', ticket, '--data-dir', at('b'), '--name', 'b').ends(0)
  founded.push('b')
  await run.ends(0)
  expect(joined.output).toContain(`fleet ${fleetId}`)
  expect(joined.output).toContain(`murmurate up --data-dir ${at('b')}`)
  for (const file of ['node.key', 'mesh.json', 'record/root']) {
    expect((await stat(join(at('b'), file))).mode & 0o777, file).toBe(0o600)
  }
  const b = await listening(up('b'))
  await Promise.all([sees(a, 'a', 'b'), sees(b, 'a', 'b')])
  expect(b.output).toContain('root 1: this node is member\n')
  const again = await new Run('join', ticket, '--data-dir', at('c')).ends(1)
  expect(again.output).toMatch(/TICKET_(UNANSWERED|USED)/)
  await Promise.all([stopped(a), stopped(b)])
  await expect(stat(join(at('a'), 'addresses'))).rejects.toThrow('ENOENT')
})

it('[CLI-3] a list of members: who is invited is on it at once, on the node that runs too', async () => {
  await found('a', '--members-list')
  const a = await listening(up('a'))
  const b = await bringIn('a', 'b', '--role', 'publisher')
  await saying(a, 'root 2: this node is member, operator, publisher')
  const runB = await listening(up('b'))
  await saying(runB, 'root 2: this node is member, publisher')
  await Promise.all([sees(a, 'a', 'b'), sees(runB, 'a', 'b')])
  const { root } = JSON.parse((await keys('a', 'list', '--json').ends(0)).result) as { root: { members: string[] } }
  expect(root.members).toContain(b)
})

it('[CLI-4] a root that no node could be told of goes into the mesh with the newcomer', async () => {
  await found('a', '--members-list')
  const a = await listening(up('a'))
  // As after a crash that left the file of another run: the inviter finds nobody there.
  await writeFile(join(at('a'), 'addresses'), '["/ip4/127.0.0.1/tcp/1"]')
  await bringIn('a', 'b')
  expect(a.output).not.toContain('root 2')
  const address = /listens on (\S+)/.exec(a.output)?.[1] ?? ''
  await listening(up('b', '--peer', address))
  await saying(a, 'root 2: this node is member')
  await sees(a, 'a', 'b')
})

it('[CLI-5] whoever is revoked is out on every node', async () => {
  await found('a')
  const a = await listening(up('a'))
  const b = await bringIn('a', 'b')
  await bringIn('a', 'c')
  const [runB, runC] = [await listening(up('b')), await listening(up('c'))]
  for (const run of [a, runB, runC]) await sees(run, 'a', 'b', 'c')
  const revoked = await keys('a', 'revoke', b).ends(0)
  expect(revoked.output).toContain('In force')
  for (const run of [a, runC]) await sees(run, 'a', 'c')
  await saying(runB, 'a (offline)')
  const { root } = JSON.parse((await keys('c', 'list', '--json').ends(0)).result) as { root: { revoked: string[] } }
  expect(root.revoked).toEqual([b])
  await keys('a', 'add', b, '--role', 'member').ends(0)
  await sees(a, 'a', 'b', 'c')
})

it('[CLI-6] two of two root keys: drafts go from hand to hand as files', async () => {
  const { rootKey } = await found('a', '--members-list')
  const a = await listening(up('a'))
  await bringIn('a', 'b')
  const b = await listening(up('b'))
  await sees(a, 'a', 'b')
  const created = JSON.parse((await keys('b', 'create', '--json').ends(0)).result) as { rootKey: string }
  const draft = at('draft.root')
  const both = ['threshold', '2', '--of', rootKey, '--of', created.rootKey]
  const alone = await keys('a', ...both).ends(1)
  expect(alone.output).toContain('NOT_PERMITTED')
  expect(alone.output).toContain(created.rootKey)
  const drafted = await keys('a', ...both, '--out', draft).ends(0)
  expect(drafted.output).toContain('Not in force yet')
  await keys('a', 'apply', draft).ends(1)
  await keys('b', 'sign', draft).ends(0)
  await keys('a', 'apply', draft).ends(0)
  await Promise.all([saying(a, 'root 3:'), saying(b, 'root 3:')])
  // A newcomer waits until enough keys have signed for it.
  const { run, ticket } = await invite('a', '--json')
  const joined = await new Run(
    'join',
    (JSON.parse(ticket) as { ticket: string }).ticket,
    '--data-dir',
    at('c'),
    '--name',
    'c'
  ).ends(0)
  founded.push('c')
  expect(joined.output).toContain('not a member yet')
  await run.ends(0)
  const outcome = JSON.parse(run.result.trim().split('\n')[1] ?? '') as {
    joined: { draftFile: string; missing: string[] }
  }
  expect(outcome.joined.missing).toEqual([created.rootKey])
  const c = await listening(up('c'))
  expect(c.output).toContain('this node is not a member')
  await keys('b', 'sign', outcome.joined.draftFile).ends(0)
  await keys('b', 'apply', outcome.joined.draftFile).ends(0)
  await saying(c, 'root 4: this node is member')
  await sees(a, 'a', 'b', 'c')
})

it('[CLI-7] without a running node a root goes to the disk, and is in force at the next start', async () => {
  const { rootKey } = await found('a')
  const added = await keys('a', 'releases', '1', '--json').ends(0)
  expect(JSON.parse(added.result)).toMatchObject({ version: 2, inForce: true, confirmedBy: [] })
  const before = await readFile(join(at('a'), 'root.key'))
  await keys('a', 'rotate').ends(0)
  expect((await readFile(join(at('a'), 'root.key'))).equals(before)).toBe(false)
  expect((await stat(join(at('a'), 'root.key'))).mode & 0o777).toBe(0o600)
  const { root } = JSON.parse((await keys('a', 'list', '--json').ends(0)).result) as { root: { keys: string[] } }
  expect(root.keys).not.toContain(rootKey)
  await writeFile(join(at('a'), 'root.key'), before)
  const old = await keys('a', 'members', 'open', '--json').ends(1)
  expect(JSON.parse(old.result)).toMatchObject({ error: { code: 'NOT_PERMITTED' } })
  await saying(await listening(up('a')), 'root 3: this node is member')
})
