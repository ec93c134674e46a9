/**
 * The sizes of the record's messages, and the one that it gossips. All of them are DAG-CBOR; `docs/record.md` has the
 * grammar, `sync-messages.ts` those of a round.
 *
 * Goals: every message bounded, every list checked before it is used; page updates are plain Yjs V1 updates.
 * Non-goals: secrecy and authenticity of the link (the network's work) and of the content (entries sign themselves).
 */
import { z } from 'zod'
import { decode, encode } from '../core/codec.js'
import { parsePageId, type PageId } from '../core/ids.js'
import { maxGossipBytes } from '../net/network.js'

/** Largest message of the record, on gossip and on sync channels. */
export const maxMessageBytes = maxGossipBytes
/** Updates are packed into messages up to this size; the rest is room for their envelope. */
const maxPackedBytes = maxMessageBytes - 4096

/** An update of one page. */
export interface PageUpdate {
  readonly page: PageId
  readonly update: Uint8Array
}

const bytes = z.instanceof(Uint8Array)
const page = z.string().transform((text): PageId => parsePageId(text))
const updatesSchema = z.array(z.tuple([page, bytes]))

/** A gossip message: `[[page, update], ...]`. */
export function encodeUpdates(updates: readonly PageUpdate[]): Uint8Array {
  return encode(updates.map(({ page, update }) => [page, update]))
}

/** @throws MurmurateError `MALFORMED` or `INVALID_REQUEST` (a page id of the wrong form) */
export function decodeUpdates(data: Uint8Array): PageUpdate[] {
  const pairs = decode(data, updatesSchema, { maxBytes: maxMessageBytes, what: 'A gossip message' })
  return pairs.map(([page, update]) => ({ page, update }))
}

/** Splits items into groups that fit a message each; an item that does not stands alone. */
export function* packed<T>(items: Iterable<T>, sizeOf: (item: T) => number): Generator<T[]> {
  let group: T[] = []
  let room = maxPackedBytes
  for (const item of items) {
    const size = sizeOf(item)
    if (group.length > 0 && size > room) {
      yield group
      group = []
      room = maxPackedBytes
    }
    group.push(item)
    room -= size
  }
  if (group.length > 0) yield group
}
