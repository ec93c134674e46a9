import { connect as connectTcp, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.js'
import { silentLogger } from '../../../src/core/logger.js'
import { createRoot, encodeSignedRoot, fleetIdOf, signRoot, type FleetId } from '../../../src/identity/fleet-root.js'
import { ephemeralKeyPair, type KeyPair } from '../../../src/identity/keypair.js'
import { createMeshSecret } from '../../../src/identity/mesh-secret.js'
import type { Ticket } from '../../../src/identity/ticket.js'
import {
  encodeApplication,
  exporterOf,
  maxAnswerFrameBytes,
  nextFrame,
  readFrames,
  sendFrame,
  tlsSettings,
  type Transcript,
  type Welcome
} from '../../../src/net/enrolment.js'
import { claimTicket } from '../../../src/net/enrolment-client.js'
import { EnrolmentServer, type EnrolmentInit } from '../../../src/net/enrolment-server.js'
import { inTime, until } from '../../support/until.js'
import { VirtualClock } from '../../support/virtual-clock.js'

const { clock, random } = systemEnvironment
const rootKey = await ephemeralKeyPair(random)
const root = signRoot(
  createRoot({
    keys: [rootKey.nodeId],
    threshold: 1,
    operators: [],
    publishers: [],
    releaseThreshold: 1,
    members: 'open',
    revoked: [],
    issuedAt: 0
  }),
  rootKey
)
const fleetId: FleetId = fleetIdOf(root)
const welcome: Welcome = {
  secret: createMeshSecret(),
  peers: ['/ip4/127.0.0.1/tcp/4001'],
  awaiting: [],
  roots: [encodeSignedRoot(root)]
}

const servers: EnrolmentServer[] = []
const sockets: Socket[] = []
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const server of servers.splice(0)) await server.close()
})

interface Open {
  readonly server: EnrolmentServer
  readonly ticket: Ticket
  readonly admitted: string[]
}

async function invite(init: Partial<EnrolmentInit> = {}, on: VirtualClock | typeof clock = clock): Promise<Open> {
  const [ticketId, ticketKey] = [random.bytes(16), random.bytes(32)]
  const admitted: string[] = []
  const admit = ({ nodeId }: { nodeId: string }): Promise<Welcome> => {
    admitted.push(nodeId)
    return Promise.resolve(welcome)
  }
  const given = { ticketId, ticketKey, fleetId, port: 0, lifetimeMs: 60_000, admit, ...init }
  const server = new EnrolmentServer({ clock: on, logger: silentLogger }, given)
  servers.push(server)
  const port = await server.listen()
  const expiresAt = clock.now() + 60_000
  return {
    server,
    admitted,
    ticket: { fleetId, id: ticketId, key: ticketKey, expiresAt, port, addresses: ['127.0.0.1'] }
  }
}

async function claim(ticket: Ticket, keyPair?: KeyPair): Promise<Welcome> {
  return claimTicket({ clock, keyPair: keyPair ?? (await ephemeralKeyPair(random)), name: 'joiner' }, ticket)
}

/** A connection as a joiner makes it, on which the test says what it likes. */
async function handshake(ticket: Ticket, session?: Buffer): Promise<TLSSocket> {
  const socket = connectTls({
    ...tlsSettings,
    host: '127.0.0.1',
    port: ticket.port,
    ...(session === undefined ? {} : { session }),
    pskCallback: () => ({ psk: ticket.key, identity: Buffer.from(ticket.id).toString('base64url') }),
    checkServerIdentity: () => undefined
  })
  sockets.push(socket)
  await new Promise((resolve, reject) => {
    socket.once('secureConnect', resolve)
    socket.once('error', reject)
  })
  socket.on('error', () => {})
  return socket
}

function silent(port: number): Socket {
  const socket = connectTcp(port, '127.0.0.1')
  socket.on('error', () => {})
  sockets.push(socket)
  return socket
}

function closed(socket: Socket): Promise<void> {
  return inTime(
    'the cut',
    new Promise((resolve) => (socket.closed ? resolve() : socket.once('close', () => resolve())))
  )
}

test('[TICKET-4] the joiner gets the secret, the roots and addresses; the inviter hears who came', async () => {
  const keyPair = await ephemeralKeyPair(random)
  const { server, ticket } = await invite()
  const [got, enrolled] = await Promise.all([claim(ticket, keyPair), server.enrolled()])
  expect(got).toEqual(welcome)
  expect(enrolled).toEqual({ nodeId: keyPair.nodeId, name: 'joiner', received: true })
})

test('[TICKET-5] of two that use one ticket at once exactly one gets in, and the other is told', async () => {
  const gate = Promise.withResolvers<Welcome>()
  const { server, ticket } = await invite({ admit: () => gate.promise })
  const claims = Array.from({ length: 8 }, () => claim(ticket).catch((error: unknown) => error))
  await inTime('the losers', Promise.race(claims)).then((loser) => expect(loser).toMatchObject({ code: 'TICKET_USED' }))
  gate.resolve(welcome)
  const [results] = await Promise.all([Promise.all(claims), server.enrolled()])
  expect(results.filter((result) => !(result instanceof Error))).toEqual([welcome])
  for (const loser of results.filter((result) => result instanceof Error)) {
    expect((loser as { code?: string }).code).toMatch(/^TICKET_(USED|UNANSWERED)$/)
  }
})

test('[TICKET-5] after its use a ticket leads nowhere', async () => {
  const { server, ticket } = await invite()
  await Promise.all([claim(ticket), server.enrolled()])
  await expect(claim(ticket)).rejects.toMatchObject({ code: 'TICKET_UNANSWERED' })
})

test('[TICKET-6] the ticket is burnt before the secret goes out: a connection that breaks then does not save it', async () => {
  const gate = Promise.withResolvers<Welcome>()
  const asked = Promise.withResolvers<void>()
  const admit = (): Promise<Welcome> => {
    asked.resolve()
    return gate.promise
  }
  const { server, ticket } = await invite({ admit })
  const keyPair = await ephemeralKeyPair(random)
  const socket = await handshake(ticket)
  const transcript = { ticketId: ticket.id, fleetId, exporter: exporterOf(socket) }
  await sendFrame(socket, encodeApplication(keyPair, 'joiner', transcript))
  await inTime('the admission', asked.promise)
  socket.destroy()
  await expect(claim(ticket)).rejects.toMatchObject({ code: 'TICKET_USED', next: expect.stringContaining('new one') })
  gate.resolve(welcome)
  expect(await inTime('the end', server.enrolled())).toMatchObject({ nodeId: keyPair.nodeId, received: false })
})

test('[TICKET-6] who took the secret but not the rest has not received everything', async () => {
  const { server, ticket } = await invite()
  const socket = await handshake(ticket)
  const transcript = { ticketId: ticket.id, fleetId, exporter: exporterOf(socket) }
  await sendFrame(socket, encodeApplication(await ephemeralKeyPair(random), 'joiner', transcript))
  await nextFrame(readFrames(socket, maxAnswerFrameBytes))
  socket.destroy()
  expect(await inTime('the end', server.enrolled())).toMatchObject({ received: false })
})

test('[TICKET-6] a joiner whose connection breaks before it has everything asks for a new ticket', async () => {
  const { server, ticket } = await invite({ admit: () => Promise.reject(new Error('no disk')) })
  const outcome = server.enrolled().catch((error: unknown) => error)
  await expect(claim(ticket)).rejects.toMatchObject({ code: 'TICKET_USED' })
  expect(await outcome).toMatchObject({ message: 'no disk' })
})

test('[TICKET-7] a wrong key or name ends in the handshake, and the ticket stays good', async () => {
  const { server, ticket, admitted } = await invite()
  for (const wrong of [{ key: random.bytes(32) }, { id: random.bytes(16) }]) {
    await expect(claim({ ...ticket, ...wrong })).rejects.toMatchObject({
      code: 'TICKET_UNANSWERED',
      message: expect.stringContaining('another invitation')
    })
  }
  expect(admitted).toEqual([])
  await Promise.all([claim(ticket), server.enrolled()])
})

test('[TICKET-8] who does not prove its key gets nothing, and the ticket stays good', async () => {
  const { server, ticket, admitted } = await invite()
  const [keyPair, other] = [await ephemeralKeyPair(random), await ephemeralKeyPair(random)]
  const first = await handshake(ticket)
  const exporter = exporterOf(first)
  const forged: ((good: Transcript) => Uint8Array)[] = [
    (good) => encodeApplication({ ...keyPair, nodeId: other.nodeId }, '', good),
    (good) => encodeApplication(keyPair, '', { ...good, ticketId: random.bytes(16) }),
    (good) => encodeApplication(keyPair, '', { ...good, fleetId: `${fleetId.slice(0, -2)}AA` as FleetId }),
    // Signed for another connection: a replay.
    (good) => encodeApplication(keyPair, '', { ...good, exporter }),
    () => Buffer.from('nonsense')
  ]
  for (const forge of forged) {
    const socket = await handshake(ticket)
    await sendFrame(socket, forge({ ticketId: ticket.id, fleetId, exporter: exporterOf(socket) }))
    await expect(nextFrame(readFrames(socket, maxAnswerFrameBytes))).rejects.toThrow()
  }
  expect(admitted).toEqual([])
  first.destroy()
  await Promise.all([claim(ticket), server.enrolled()])
})

test('[TICKET-9] silent sockets are cut after 3 s, in TCP, in TLS and in the middle of a frame', async () => {
  const virtual = new VirtualClock()
  const { ticket, server } = await invite({}, virtual)
  const tcp = silent(ticket.port)
  const tls = await handshake(ticket)
  const half = await handshake(ticket)
  half.write(Buffer.from([0, 0, 0, 90, 1]))
  for (const socket of [tcp, tls, half]) socket.resume()
  await until('three timers and the lifetime', () => virtual.pending === 4)
  await virtual.advance(2900)
  expect([tcp, tls, half].map((socket) => socket.closed)).toEqual([false, false, false])
  await virtual.advance(200)
  await Promise.all([tcp, tls, half].map(closed))
  await Promise.all([claim(ticket), server.enrolled()])
})

test('[TICKET-9] a flood of silent sockets does not keep a joiner out, and at most 64 stay open', async () => {
  // On a clock that stands still nobody is cut for being silent.
  const { ticket, server } = await invite({}, new VirtualClock())
  const flood = Array.from({ length: 300 }, () => silent(ticket.port))
  await until('the flood', () => flood.filter((socket) => socket.closed).length >= 300 - 64)
  const claimed = claim(ticket)
  expect(await claimed).toEqual(welcome)
  await server.enrolled()
  await Promise.all(flood.map(closed))
})

test('[TICKET-9] who has proved its key may wait while a root is signed for it, whoever else comes', async () => {
  const virtual = new VirtualClock()
  const gate = Promise.withResolvers<Welcome>()
  const asked = Promise.withResolvers<void>()
  const admit = (): Promise<Welcome> => {
    asked.resolve()
    return gate.promise
  }
  const { ticket, server } = await invite({ admit }, virtual)
  const claimed = claim(ticket)
  await inTime('the admission', asked.promise)
  const flood = Array.from({ length: 70 }, () => silent(ticket.port))
  await until('the flood', () => flood.some((socket) => socket.closed))
  await virtual.advance(4000)
  gate.resolve(welcome)
  expect(await claimed).toEqual(welcome)
  await server.enrolled()
})

test('[TICKET-9] an announcement of 4 GiB is cut off before anything is allocated', async () => {
  const { ticket, server } = await invite()
  const socket = await handshake(ticket)
  socket.resume()
  socket.write(Buffer.from([255, 255, 255, 255]))
  await closed(socket)
  await Promise.all([claim(ticket), server.enrolled()])
})

test('[TICKET-10] the lifetime counts on the monotonic clock and ends the wait', async () => {
  const virtual = new VirtualClock()
  const { server, ticket } = await invite({ lifetimeMs: 600_000 }, virtual)
  const outcome = server.enrolled().catch((error: unknown) => error)
  await virtual.advance(599_000)
  await handshake(ticket)
  await virtual.advance(1000)
  expect(await inTime('the end', outcome)).toMatchObject({ code: 'TICKET_EXPIRED' })
  await expect(claim(ticket)).rejects.toMatchObject({ code: 'TICKET_UNANSWERED' })
  await expect(claim({ ...ticket, expiresAt: clock.now() - 1 })).rejects.toMatchObject({ code: 'TICKET_EXPIRED' })
})

test('[TICKET-10] a withdrawn invitation leaves nothing open', async () => {
  const { server, ticket } = await invite()
  const idle = silent(ticket.port)
  await new Promise((resolve) => idle.once('connect', resolve))
  const controller = new AbortController()
  const outcome = server.enrolled({ signal: controller.signal }).catch((error: unknown) => error)
  controller.abort()
  expect(await outcome).toMatchObject({ code: 'ABORTED' })
  await closed(idle)
  await expect(claim(ticket)).rejects.toMatchObject({ code: 'TICKET_UNANSWERED' })
})

test('[TICKET-11] no session of TLS is taken up again: it could outlive the key', async () => {
  const { ticket } = await invite()
  const first = await handshake(ticket)
  const sessions: Buffer[] = []
  first.on('session', (session) => sessions.push(session))
  first.resume()
  first.write(Buffer.from([0, 0, 0, 1, 0]))
  await closed(first)
  const stolen = [...sessions, first.getSession()].filter((session) => session !== undefined)
  for (const session of stolen) {
    const withoutKey = { ...ticket, key: random.bytes(32), id: random.bytes(16) }
    await expect(handshake(withoutKey, session)).rejects.toThrow()
  }
})

test('a port in use is told', async () => {
  const { ticket } = await invite()
  await expect(invite({ port: ticket.port })).rejects.toMatchObject({ code: 'PORT_IN_USE' })
})

test('a joiner that gives up leaves nothing open', async () => {
  const { ticket } = await invite({ admit: () => new Promise(() => {}) })
  const controller = new AbortController()
  const keyPair = await ephemeralKeyPair(random)
  const claiming = claimTicket({ clock, keyPair, name: '' }, ticket, { signal: controller.signal })
  controller.abort()
  await expect(claiming).rejects.toMatchObject({ code: 'ABORTED' })
})

test('a connection that was not needed is closed when another one has succeeded', async () => {
  const { server, ticket } = await invite()
  const forward = createServer((socket) => {
    const onward = silent(ticket.port)
    socket
      .on('error', () => onward.destroy())
      .pipe(onward)
      .pipe(socket)
  })
  const port = await listening(forward, 0, '127.0.0.2')
  const held = Promise.withResolvers<Socket>()
  const tarpit = createServer((socket) => held.resolve(socket.on('error', () => {}).resume()))
  await listening(tarpit, port, '127.0.0.3')
  await Promise.all([claim({ ...ticket, port, addresses: ['127.0.0.3', '127.0.0.2'] }), server.enrolled()])
  await closed(await held.promise)
  for (const open of [forward, tarpit]) open.close()
})

async function listening(server: Server, port: number, host: string): Promise<number> {
  await new Promise<void>((resolve) => server.listen(port, host, resolve))
  return (server.address() as AddressInfo).port
}

test('of several addresses the one that answers is taken, and the proof goes over one connection only', async () => {
  const { server, ticket, admitted } = await invite()
  const addresses = ['127.0.0.1', '127.0.0.2', 'localhost', '192.0.2.1']
  const [got] = await Promise.all([claim({ ...ticket, addresses }), server.enrolled()])
  expect(got).toEqual(welcome)
  expect(admitted).toHaveLength(1)
})
