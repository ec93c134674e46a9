import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { encode } from '../../../src/core/codec.js'
import { MurmurateError } from '../../../src/core/errors.js'
import type { FleetId } from '../../../src/identity/fleet-root.js'
import { encodeTicket, parseTicket, type Ticket } from '../../../src/identity/ticket.js'
import { caught } from '../core/caught.js'

const fleetId = `murmurate-fleet-1:${'A'.repeat(43)}` as FleetId
const ticket: Ticket = {
  fleetId,
  id: new Uint8Array(16).fill(1),
  key: new Uint8Array(32).fill(2),
  expiresAt: 1_750_000_000_000,
  port: 4100,
  addresses: ['192.168.1.10', 'fe80::1', 'gate.example.org']
}
const line = encodeTicket(ticket)
const bytes = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length })
const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain())
const tickets = fc.record({
  fleetId: fc.constant(fleetId),
  id: bytes(16).map((value) => new Uint8Array(value)),
  key: bytes(32).map((value) => new Uint8Array(value)),
  expiresAt: fc.maxSafeNat(),
  port: fc.integer({ min: 1, max: 65_535 }),
  addresses: fc.array(host, { minLength: 1, maxLength: 16 })
})

test('[TICKET-1] a ticket is one line, and what was put in comes out', () => {
  fc.assert(
    fc.property(tickets, (given) => {
      const text = encodeTicket(given)
      expect(text).toMatch(/^murmurate-ticket-1:[A-Za-z0-9_-]+$/)
      expect(parseTicket(` ${text}\n`)).toEqual(given)
    })
  )
})

test('[TICKET-1] its form is pinned', () => {
  const short = encodeTicket({ ...ticket, addresses: ['192.168.1.10'] })
  expect(short).toBe(
    'murmurate-ticket-1:hng9bXVybXVyYXRlLWZsZWV0LTE6QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQVABAQEBAQEBAQEBAQEBAQEBWCACAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAhsAAAGXdCDcABkQBIFsMTkyLjE2OC4xLjEwp2X2SA'
  )
})

test('[TICKET-2] no character can be changed, left out or added', () => {
  const spelled = fc.constantFrom(...'ABCXYZabcxyz0189-_=+/ '.split(''))
  const change = fc.record({ at: fc.nat(line.length), by: spelled, drop: fc.integer({ min: 0, max: 2 }) })
  fc.assert(
    fc.property(change, ({ at, by, drop }) => {
      const altered = (line.slice(0, at) + by + line.slice(at + drop)).trim()
      fc.pre(altered !== line)
      expect(caught(() => parseTicket(altered))?.code).toBe('TICKET_MALFORMED')
    }),
    { numRuns: 2000 }
  )
})

test('[TICKET-2] every cut is malformed', () => {
  for (let length = 0; length < line.length; length++) {
    expect(caught(() => parseTicket(line.slice(0, length)))?.code).toBe('TICKET_MALFORMED')
  }
})

test('[TICKET-2] whatever comes as a ticket, the error is typed and shows nothing of it', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.uint8Array().map(withChecksum), fc.anything().map(asPayload)), (text) => {
      const error = caught(() => parseTicket(text))
      expect(error).toBeInstanceOf(MurmurateError)
      expect(error?.code).toBe('TICKET_MALFORMED')
    })
  )
  const shown = caught(() => parseTicket(`${line}x`))
  expect(JSON.stringify(shown) + String(shown)).not.toContain(line.slice(25, 45))
})

test.each([
  ['no address', { addresses: [] }],
  ['17 addresses', { addresses: Array.from({ length: 17 }, () => '10.0.0.1') }],
  ['an address that is none', { addresses: ['a b'] }],
  ['a path for an address', { addresses: ['../etc'] }],
  ['port 0', { port: 0 }],
  ['a port above 65535', { port: 65_536 }],
  ['a short key', { key: new Uint8Array(31) }],
  ['a long id', { id: new Uint8Array(17) }],
  ['a time that is no number of ms', { expiresAt: -1 }],
  ['another fleet id', { fleetId: 'murmurate-fleet-2:x' as FleetId }]
])('[TICKET-2] %s is malformed', (_, wrong) => {
  expect(caught(() => parseTicket(encodeTicket({ ...ticket, ...wrong })))?.code).toBe('TICKET_MALFORMED')
})

test('[TICKET-2] a text of any length is refused before it is decoded', () => {
  expect(caught(() => parseTicket(`murmurate-ticket-1:${'A'.repeat(10_000_000)}`))?.message).toContain('limit')
})

test('[TICKET-3] the largest ticket fits its own bounds', () => {
  const addresses = Array.from({ length: 16 }, (_, at) => `${String.fromCodePoint(97 + at)}${'.a'.repeat(126)}`)
  expect(parseTicket(encodeTicket({ ...ticket, addresses, expiresAt: Number.MAX_SAFE_INTEGER })).addresses).toEqual(
    addresses
  )
})

function withChecksum(payload: Uint8Array): string {
  const checksum = createHash('sha256').update(payload).digest().subarray(0, 4)
  return `murmurate-ticket-1:${Buffer.concat([payload, checksum]).toString('base64url')}`
}

function asPayload(value: unknown): string {
  try {
    return withChecksum(encode(value))
  } catch {
    return ''
  }
}
