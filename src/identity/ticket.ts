/**
 * An invitation as one line of text: where the inviter waits, and a key that opens its door once.
 *
 * ```
 * text     = "murmurate-ticket-1:" base64url(payload checksum)
 * payload  = DAG-CBOR [fleetId, id, key, expiresAt, port, addresses]
 * checksum = first 4 bytes of SHA-256 over the payload
 * ```
 *
 * Goals: fits into a chat message; a slip in copying is noticed before anything is dialled; who finds it later has nothing.
 *
 * Non-goals: to hold the mesh secret (the inviter hands that out itself, to one node), to be secret after its lifetime.
 */
import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import { z } from 'zod'
import { decode, encode } from '../core/codec.js'
import { MurmurateError } from '../core/errors.js'
import { parseFleetId, type FleetId } from './fleet-root.js'

/** An invitation for one node. */
export interface Ticket {
  /** The fleet that the ticket leads to; whoever answers must show this fleet's roots. */
  readonly fleetId: FleetId
  /** 16 bytes; names the invitation, not secret. */
  readonly id: Uint8Array
  /** 32 bytes; proves to each side that the other has the ticket, and encrypts what they say. */
  readonly key: Uint8Array
  /** The inviter's wall clock when the invitation ends, ms since 1970. A hint: the inviter itself keeps the time. */
  readonly expiresAt: number
  readonly port: number
  /** IP addresses or host names of the inviter, at least one. */
  readonly addresses: readonly string[]
}

/** Bytes of a ticket's name. */
export const ticketIdBytes = 16
/** Bytes of a ticket's key: as many as the SHA-256 of TLS_AES_128_GCM_SHA256 gives. */
export const ticketKeyBytes = 32
/** More addresses than a machine with a few networks has. */
export const maxTicketAddresses = 16

const textPrefix = 'murmurate-ticket-1:'
const textPattern = /^murmurate-ticket-1:([A-Za-z0-9_-]+)$/
/** 16 addresses of 253 characters, a fleet id and the keys, times 4 / 3 for base64url, make less than 6000 characters. */
const maxTextLength = 6144
const checksumBytes = 4
/** The longest host name, RFC 1035, and the letters of host names and of addresses. */
const hostName = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/

/** Whether a text is an IP address or has the form of a host name. */
export function isHost(text: string): boolean {
  return isIP(text) !== 0 || hostName.test(text)
}

const payloadSchema = z.tuple([
  z.string(),
  z.instanceof(Uint8Array).refine(({ byteLength }) => byteLength === ticketIdBytes),
  z.instanceof(Uint8Array).refine(({ byteLength }) => byteLength === ticketKeyBytes),
  z.int().nonnegative(),
  z.int().min(1).max(65_535),
  z.array(z.string().max(253).refine(isHost)).min(1).max(maxTicketAddresses)
])

/** The line of text of a ticket. */
export function encodeTicket({ fleetId, id, key, expiresAt, port, addresses }: Ticket): string {
  const payload = encode([fleetId, id, key, expiresAt, port, addresses])
  return textPrefix + Buffer.concat([payload, checksum(payload)]).toString('base64url')
}

/**
 * Reads the line of text of a ticket; white space around it does no harm.
 *
 * @throws MurmurateError `TICKET_MALFORMED`; the message never contains the ticket
 */
export function parseTicket(text: string): Ticket {
  const line = text.trim()
  if (line.length > maxTextLength) throw malformed(`has ${line.length} characters, the limit is ${maxTextLength}`)
  const body = textPattern.exec(line)?.[1]
  if (body === undefined) throw malformed(`is not one line that begins with "${textPrefix}"`)
  const bytes = new Uint8Array(Buffer.from(body, 'base64url'))
  const ticket = decodePayload(bytes.subarray(0, Math.max(0, bytes.byteLength - checksumBytes)))
  // The checksum, and that base64url and CBOR have several spellings of the same: one ticket is one text.
  if (encodeTicket(ticket) !== line) throw malformed('is incomplete or altered')
  return ticket
}

function decodePayload(payload: Uint8Array): Ticket {
  try {
    const options = { maxBytes: maxTextLength, what: 'The ticket' }
    const [fleetId, id, key, expiresAt, port, addresses] = decode(payload, payloadSchema, options)
    return { fleetId: parseFleetId(fleetId), id, key, expiresAt, port, addresses }
  } catch {
    // Neither the cause nor its message may go out: they could quote the key.
    throw malformed('is incomplete or altered')
  }
}

function checksum(payload: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(payload).digest().subarray(0, checksumBytes))
}

function malformed(why: string): MurmurateError {
  return new MurmurateError('TICKET_MALFORMED', `The ticket ${why}`)
}
