import { isIP } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import { abortedError, throwIfAborted, type AbortOptions } from '../core/abort.js'
import type { Clock } from '../core/environment.js'
import { errorCode, MurmurateError, messageOf } from '../core/errors.js'
import type { KeyPair } from '../identity/keypair.js'
import type { Ticket } from '../identity/ticket.js'
import {
  decodeAnswer,
  encodeApplication,
  exporterOf,
  maxAnswerFrameBytes,
  nextFrame,
  readFrames,
  sendFrame,
  tlsSettings,
  type Refusal,
  type Welcome
} from './enrolment.js'

/** What claiming needs. */
export interface ClaimComponents {
  readonly clock: Clock
  readonly keyPair: KeyPair
  /** What people call this node. */
  readonly name: string
}

/** All addresses of a ticket are tried at once, this long, ms: a lost packet costs TCP 1 s, then 3. */
const connectMs = 10_000
/** Between two things that the inviter says at most this long passes, ms. */
const answerMs = 60_000

/**
 * Uses a ticket: proves this node's key to the inviter and gets what a node of the mesh needs. The roots are as the inviter
 * sent them, not verified.
 *
 * @throws MurmurateError `TICKET_UNANSWERED`, `TICKET_EXPIRED`: the ticket may still be good elsewhere; `TICKET_USED`: this or
 * another node has used it; `ABORTED`
 */
export async function claimTicket(
  components: ClaimComponents,
  ticket: Ticket,
  options: AbortOptions = {}
): Promise<Welcome> {
  throwIfAborted(options.signal)
  const socket = await reach(components.clock, ticket, options)
  const onAbort = (): void => void socket.destroy(abortedError(options.signal))
  options.signal?.addEventListener('abort', onAbort, { once: true })
  try {
    return await apply(components, ticket, socket)
  } catch (cause) {
    if (options.signal?.aborted === true) throw abortedError(options.signal)
    if (errorCode(cause) === 'TICKET_USED') throw cause
    const message = `The inviter did not answer to the end, and the ticket may be used up by now: ${messageOf(cause)}`
    throw new MurmurateError('TICKET_USED', message, { cause })
  } finally {
    options.signal?.removeEventListener('abort', onAbort)
    socket.destroySoon()
  }
}

async function apply({ clock, keyPair, name }: ClaimComponents, ticket: Ticket, socket: TLSSocket): Promise<Welcome> {
  const transcript = { ticketId: ticket.id, fleetId: ticket.fleetId, exporter: exporterOf(socket) }
  const frames = readFrames(socket, maxAnswerFrameBytes)
  const next = (): Promise<Uint8Array> => inTime(clock, socket, nextFrame(frames))
  await sendFrame(socket, encodeApplication(keyPair, name, transcript))
  const answer = decodeAnswer(await next())
  if ('refused' in answer) throw refusalError(answer.refused)
  const roots: Uint8Array[] = []
  while (roots.length < answer.roots) roots.push(new Uint8Array(await next()))
  await sendFrame(socket, new Uint8Array(0))
  return { ...answer, roots }
}

async function inTime<T>(clock: Clock, socket: TLSSocket, promise: Promise<T>): Promise<T> {
  const timer = clock.setTimer(answerMs, () => socket.destroy(new Error(`nothing was heard for ${answerMs} ms`)))
  try {
    return await promise
  } finally {
    timer.cancel()
  }
}

/** A connection to whichever address answers first with the ticket's key; nothing has been said on it. */
async function reach(clock: Clock, ticket: Ticket, { signal }: AbortOptions): Promise<TLSSocket> {
  const sockets = ticket.addresses.map((host) => open(host, ticket))
  const giveUp = (error: Error): void => sockets.forEach((socket) => socket.destroy(error))
  const onAbort = (): void => giveUp(abortedError(signal))
  const limit = clock.setTimer(connectMs, () => giveUp(new Error(`no answer within ${connectMs} ms`)))
  signal?.addEventListener('abort', onAbort, { once: true })
  let first: TLSSocket | undefined
  try {
    first = await Promise.any(sockets.map(secured))
    return first
  } catch (cause) {
    if (signal?.aborted === true) throw abortedError(signal)
    throw unanswered(clock, ticket, cause)
  } finally {
    limit.cancel()
    signal?.removeEventListener('abort', onAbort)
    for (const socket of sockets) if (socket !== first) socket.destroy()
  }
}

function open(host: string, { port, id, key }: Ticket): TLSSocket {
  const identity = Buffer.from(id).toString('base64url')
  return connect({
    ...tlsSettings,
    host,
    port,
    // Only a name may stand in the handshake; it is of no use here.
    ...(isIP(host) === 0 ? { servername: host } : {}),
    pskCallback: () => ({ psk: key, identity }),
    // There is no certificate: the key in the ticket is what both sides prove to have.
    checkServerIdentity: () => undefined
  })
}

/** Its errors stay handled after it has settled. */
function secured(socket: TLSSocket): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    socket.once('secureConnect', () => resolve(socket))
    socket.on('error', reject)
    socket.once('close', () => reject(new Error('the connection was closed')))
  })
}

function refusalError(refused: Refusal): MurmurateError {
  const why = refused === 'used' ? 'Another node was first' : 'The inviter failed and says there why'
  return new MurmurateError('TICKET_USED', `The ticket is used up. ${why}`)
}

function unanswered(clock: Clock, { expiresAt, addresses, port }: Ticket, cause: unknown): MurmurateError {
  const lateMs = clock.now() - expiresAt
  const where = addresses.map((host) => `${host} port ${port}`).join(', ')
  if (lateMs > 0) {
    const message = `By this machine's clock the invitation ended ${Math.ceil(lateMs / 60_000)} min ago; nobody answers at ${where}`
    return new MurmurateError('TICKET_EXPIRED', message, { cause, details: { expiresAt } })
  }
  const reasons = cause instanceof AggregateError ? cause.errors.map(reasonOf) : [reasonOf(cause)]
  const message = `Nobody lets this ticket in at ${where}: ${[...new Set(reasons)].join('; ')}`
  return new MurmurateError('TICKET_UNANSWERED', message, { cause, details: { addresses, port } })
}

/** OpenSSL's texts are for those who know its sources. */
function reasonOf(error: unknown): string {
  const text = messageOf(error)
  return /SSL|TLS/.test(text) ? 'who answers there holds another invitation' : text
}
