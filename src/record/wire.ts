/**
 * What the record puts on the wire. All of it is DAG-CBOR; `docs/protocols.md` has the grammar.
 *
 * Goals: every message bounded, every list checked before it is used; page updates are plain Yjs V1 updates.
 * Non-goals: secrecy and authenticity of the link (the network's work) and of the content (entries sign themselves).
 */
import { z } from 'zod'
import { decode, encode } from '../core/codec.js'
import { parsePageId, type PageId } from '../core/ids.js'
import { maxGossipBytes } from '../net/network.js'
import { tagBytes, type StateVector } from './page.js'

/** Largest message of the record, on gossip and on sync channels. */
export const maxMessageBytes = maxGossipBytes
/** Updates are packed into messages up to this size; the rest is room for their envelope. */
export const maxPackedBytes = maxMessageBytes - 4096

/** An update of one page. */
export interface PageUpdate {
  readonly page: PageId
  readonly update: Uint8Array
}

/** Messages on a sync channel. */
export type SyncMessage =
  | { readonly type: 'digests'; readonly digests: readonly (readonly [PageId, Uint8Array])[]; readonly last: boolean }
  | { readonly type: 'vectors'; readonly vectors: readonly (readonly [PageId, StateVector])[]; readonly last: boolean }
  | { readonly type: 'updates'; readonly updates: readonly PageUpdate[] }
  | { readonly type: 'done' }

const bytes = z.instanceof(Uint8Array)
const page = z.string().transform((text): PageId => parsePageId(text))
const clock = z.int().nonnegative()
const updatesSchema = z.array(z.tuple([page, bytes]))
const tag = bytes.refine((value) => value.byteLength === tagBytes)
const vectorSchema = z
  .array(z.tuple([clock, clock, tag]))
  .transform((rows): StateVector => new Map(rows.map(([client, next, last]) => [client, { clock: next, tag: last }])))
const messageSchema = z.union([
  z.tuple([z.literal(0), z.array(z.tuple([page, bytes])), z.boolean()]),
  z.tuple([z.literal(1), z.array(z.tuple([page, vectorSchema])), z.boolean()]),
  z.tuple([z.literal(2), updatesSchema]),
  z.tuple([z.literal(3)])
])

/** A gossip message: `[[page, update], ...]`. */
export function encodeUpdates(updates: readonly PageUpdate[]): Uint8Array {
  return encode(updates.map(({ page, update }) => [page, update]))
}

/** @throws MurmurateError `MALFORMED` or `INVALID_REQUEST` (a page id of the wrong form) */
export function decodeUpdates(data: Uint8Array): PageUpdate[] {
  const pairs = decode(data, updatesSchema, { maxBytes: maxMessageBytes, what: 'A gossip message' })
  return pairs.map(([page, update]) => ({ page, update }))
}

/** Writes a sync message. */
export function encodeSync(message: SyncMessage): Uint8Array {
  switch (message.type) {
    case 'digests':
      return encode([0, message.digests, message.last])
    case 'vectors':
      return encode([1, message.vectors.map(([id, vector]) => [id, vectorRows(vector)]), message.last])
    case 'updates':
      return encode([2, message.updates.map(({ page, update }) => [page, update])])
    case 'done':
      return encode([3])
  }
}

/** @throws MurmurateError `MALFORMED` or `INVALID_REQUEST` (a page id of the wrong form) */
export function decodeSync(data: Uint8Array): SyncMessage {
  const message = decode(data, messageSchema, { maxBytes: maxMessageBytes, what: 'A sync message' })
  switch (message[0]) {
    case 0:
      return { type: 'digests', digests: message[1], last: message[2] }
    case 1:
      return { type: 'vectors', vectors: message[1], last: message[2] }
    case 2:
      return { type: 'updates', updates: message[1].map(([page, update]) => ({ page, update })) }
    case 3:
      return { type: 'done' }
  }
}

function vectorRows(vector: StateVector): [number, number, Uint8Array][] {
  return Array.from(vector, ([client, known]) => [client, known.clock, known.tag])
}

/** Splits items into groups whose sizes stay within the bound; an item above it stands alone. */
export function packed<T>(items: readonly T[], sizeOf: (item: T) => number, maxBytes: number): T[][] {
  const groups: T[][] = []
  let room = 0
  for (const item of items) {
    const size = sizeOf(item)
    const group = groups.at(-1)
    if (group === undefined || size > room) {
      groups.push([item])
      room = maxBytes - size
    } else {
      group.push(item)
      room -= size
    }
  }
  return groups
}
