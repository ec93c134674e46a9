import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.js'
import { silentLogger } from '../../../src/core/logger.js'
import { encodeSignedRoot, fleetIdOf, type SignedRoot } from '../../../src/identity/fleet-root.js'
import { loadOrCreateKeyPair } from '../../../src/identity/keypair.js'
import { createMeshSecret } from '../../../src/identity/mesh-secret.js'
import { parseTicket, type Ticket } from '../../../src/identity/ticket.js'
import { foundMesh } from '../../../src/mesh/founding.js'
import { openInvitation } from '../../../src/mesh/invitation.js'
import { joinMesh } from '../../../src/mesh/joining.js'
import { findMesh } from '../../../src/mesh/mesh-file.js'
import { changeRoot, showRoot } from '../../../src/mesh/root-keys.js'
import type { Welcome } from '../../../src/net/enrolment.js'
import { EnrolmentServer } from '../../../src/net/enrolment-server.js'
import { firstRoot, nextRoot } from '../../support/fleet-roots.js'

const { clock, random } = systemEnvironment
const first = await firstRoot()
const other = await firstRoot({ issuedAt: 2 })
const unsigned = await nextRoot(first, {}, 5)
let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-join-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

const at = (name: string): string => join(directory, name)

/** An inviter that sends what the test says; it has the ticket's key, so it is not a stranger. */
async function inviterOf(sent: Partial<Welcome>): Promise<Ticket> {
  const [ticketId, ticketKey, fleetId] = [random.bytes(16), random.bytes(32), fleetIdOf(first)]
  const welcome = { secret: createMeshSecret(), peers: [], awaiting: [], roots: [encodeSignedRoot(first)], ...sent }
  const admit = (): Promise<Welcome> => Promise.resolve(welcome)
  const init = { ticketId, ticketKey, fleetId, port: 0, lifetimeMs: 10_000, admit }
  const server = new EnrolmentServer({ clock, logger: silentLogger }, init)
  const port = await server.listen()
  server.enrolled().catch(() => {})
  return { fleetId, id: ticketId, key: ticketKey, expiresAt: clock.now() + 10_000, port, addresses: ['127.0.0.1'] }
}

const encoded = (...roots: SignedRoot[]): Uint8Array[] => roots.map(encodeSignedRoot)

test.each<[string, Partial<Welcome>]>([
  ['roots of another fleet', { roots: encoded(other) }],
  ['a root that nobody who counts has signed', { roots: encoded(first, unsigned) }],
  ['roots out of order', { roots: encoded(first, first) }],
  ['bytes that are no root', { roots: [new Uint8Array(10)] }],
  ['a secret of the wrong form', { secret: 'hunter2' }],
  ['addresses that are none', { peers: ['http://example.org'] }]
])('[TICKET-12] an inviter that sends %s is refused, and the directory stays out of the mesh', async (_, sent) => {
  const ticket = await inviterOf(sent)
  const error: unknown = await joinMesh(ticket, { dataDir: at('b') }).catch((caught: unknown) => caught)
  expect(error).toMatchObject({ code: 'TICKET_USED' })
  expect(String(error)).not.toContain('hunter2')
  expect(await readdir(at('b'))).toEqual(['node.key'])
})

test('[TICKET-13] a node that was revoked does not come back by a ticket', async () => {
  const a = at('a')
  await foundMesh({ dataDir: a, members: 'open' })
  const { nodeId } = await loadOrCreateKeyPair(join(at('b'), 'node.key'), random)
  await changeRoot({ dataDir: a, discovery: false }, [{ type: 'revoke', id: nodeId }])
  const invitation = await openInvitation({
    dataDir: a,
    lifetimeMs: 10_000,
    port: 0,
    roles: ['operator'],
    addresses: ['127.0.0.1'],
    discovery: false
  })
  const accepted = invitation.accepted().catch((error: unknown) => error)
  await expect(joinMesh(parseTicket(invitation.ticket), { dataDir: at('b') })).rejects.toMatchObject({
    code: 'TICKET_USED'
  })
  expect(await accepted).toMatchObject({ code: 'NOT_PERMITTED', message: expect.stringContaining('revoked') })
  expect((await showRoot(a)).root).toMatchObject({ version: 2, revoked: [nodeId] })
})

test('[CLI-2] [TICKET-4] the files of the new node have mode 0600, and it knows the fleet and whom to dial', async () => {
  await foundMesh({ dataDir: at('a'), members: 'open', name: 'a' })
  const invitation = await openInvitation({
    dataDir: at('a'),
    lifetimeMs: 10_000,
    port: 0,
    roles: [],
    addresses: ['127.0.0.1'],
    discovery: false
  })
  const [joined, accepted] = await Promise.all([
    joinMesh(parseTicket(invitation.ticket), { dataDir: at('b'), name: 'b' }),
    invitation.accepted()
  ])
  expect(accepted).toMatchObject({ nodeId: joined.nodeId, name: 'b', received: true, missing: [], rootVersion: 1 })
  const [mesh, theirs] = [await findMesh(at('b')), await findMesh(at('a'))]
  expect(mesh).toEqual({ ...theirs, name: 'b' })
  for (const file of ['node.key', 'mesh.json', join('record', 'root')]) {
    expect((await stat(join(at('b'), file))).mode & 0o777, file).toBe(0o600)
  }
  expect(await readdir(at('b'))).toEqual(['mesh.json', 'node.key', 'record'])
})
