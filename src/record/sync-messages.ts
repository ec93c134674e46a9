/**
 * The messages of a round of anti-entropy, all of them DAG-CBOR of at most 256 KiB; `docs/record.md` has the grammar.
 *
 * Lists go on over several messages; `last` is true in the last one. Pages of a list come in ascending order, and what belongs
 * to one page too, so that nothing can come twice: the one who reads need not remember what it has seen.
 */
import { z } from 'zod'
import { decode, encode } from '../core/codec.js'
import { messageOf, MurmurateError } from '../core/errors.js'
import { parsePageId, type PageId } from '../core/ids.js'
import { tagBytes } from './page.js'
import { maxSliceBits, sliceDigestBytes } from './slices.js'
import { maxMessageBytes, type PageUpdate } from './wire.js'

/** The digests of all slices of a page. */
export interface PageSlices {
  readonly page: PageId
  /** There are two to the power of `bits` slices. */
  readonly bits: number
  readonly digests: Uint8Array
}

/** How far a node knows one writer, on the wire. */
export interface VectorRow {
  readonly client: number
  /** The next clock. */
  readonly clock: number
  /** First 8 bytes of the hash of the last value: tells apart two values that a writer signed for one clock. */
  readonly tag: Uint8Array
}

/** All rows of some slices of a page. */
export interface SliceVectors {
  readonly page: PageId
  readonly bits: number
  readonly slices: readonly number[]
  readonly rows: readonly VectorRow[]
}

/** An entry that a node lacks. */
export interface WantedRow {
  readonly client: number
  /** The next clock that it knows. */
  readonly clock: number
}

/** Entries of a page that a node lacks; undefined: it has none. */
export interface Wants {
  readonly page: PageId
  readonly rows: readonly WantedRow[] | undefined
}

/** A message of a round. */
export type SyncMessage =
  | { readonly type: 'open'; readonly salt: Uint8Array; readonly digest: Uint8Array }
  | { readonly type: 'equal' }
  | { readonly type: 'pages'; readonly items: readonly (readonly [PageId, Uint8Array])[]; readonly last: boolean }
  | { readonly type: 'slices'; readonly items: readonly PageSlices[]; readonly last: boolean }
  | { readonly type: 'vectors'; readonly items: readonly SliceVectors[]; readonly last: boolean }
  | { readonly type: 'updates'; readonly items: readonly PageUpdate[] }
  | { readonly type: 'wants'; readonly items: readonly Wants[]; readonly last: boolean }
  | { readonly type: 'done'; readonly more: boolean }

/** Bytes of the salt of a round. */
export const saltBytes = 8
/** Bytes of a page's digest on the wire. */
export const shortDigestBytes = 8

const bytesOf = (length: number): z.ZodType<Uint8Array> =>
  z.instanceof(Uint8Array).refine((value) => value.byteLength === length)
const page = z.string().transform((text): PageId => parsePageId(text))
const counter = z.int().nonnegative()
const bits = z.int().min(0).max(maxSliceBits)
const slicesItem = z
  .tuple([page, bits, z.instanceof(Uint8Array)])
  .refine(([, exponent, digests]) => digests.byteLength === sliceDigestBytes * 2 ** exponent)
const vectorRow = z.tuple([counter, counter, bytesOf(tagBytes)])
const vectorsItem = z.tuple([page, bits, z.array(counter), z.array(vectorRow)])
const wantsItem = z.tuple([page, z.array(z.tuple([counter, counter])).nullable()])
const messageSchema = z.union([
  z.tuple([z.literal(0), bytesOf(saltBytes), bytesOf(16)]),
  z.tuple([z.literal(1)]),
  z.tuple([z.literal(2), z.array(z.tuple([page, bytesOf(shortDigestBytes)])), z.boolean()]),
  z.tuple([z.literal(3), z.array(slicesItem), z.boolean()]),
  z.tuple([z.literal(4), z.array(vectorsItem), z.boolean()]),
  z.tuple([z.literal(5), z.array(z.tuple([page, z.instanceof(Uint8Array)]))]),
  z.tuple([z.literal(6), z.array(wantsItem), z.boolean()]),
  z.tuple([z.literal(7), z.boolean()])
])

/** Writes a message. */
export function encodeSync(message: SyncMessage): Uint8Array {
  return encode(fieldsOf(message))
}

function fieldsOf(message: SyncMessage): unknown[] {
  switch (message.type) {
    case 'open':
      return [0, message.salt, message.digest]
    case 'equal':
      return [1]
    case 'pages':
      return [2, message.items, message.last]
    case 'slices':
      return [3, message.items.map((item) => [item.page, item.bits, item.digests]), message.last]
    case 'vectors':
      return [4, message.items.map(vectorsFields), message.last]
    case 'updates':
      return [5, message.items.map((item) => [item.page, item.update])]
    case 'wants':
      return [6, message.items.map((item) => [item.page, wantsRows(item)]), message.last]
    case 'done':
      return [7, message.more]
  }
}

function vectorsFields(item: SliceVectors): unknown[] {
  return [item.page, item.bits, item.slices, item.rows.map(({ client, clock, tag }) => [client, clock, tag])]
}

function wantsRows({ rows }: Wants): unknown {
  return rows?.map(({ client, clock }) => [client, clock]) ?? null
}

/** @throws MurmurateError `MALFORMED` */
export function decodeSync(data: Uint8Array): SyncMessage {
  try {
    return messageFrom(decode(data, messageSchema, { maxBytes: maxMessageBytes, what: 'A sync message' }))
  } catch (cause) {
    // A page id of the wrong form is an error of the caller everywhere but here.
    throw new MurmurateError('MALFORMED', messageOf(cause), { cause })
  }
}

function messageFrom(fields: z.output<typeof messageSchema>): SyncMessage {
  switch (fields[0]) {
    case 0:
      return { type: 'open', salt: fields[1], digest: fields[2] }
    case 1:
      return { type: 'equal' }
    case 2:
      return { type: 'pages', items: fields[1], last: fields[2] }
    case 3:
      return { type: 'slices', items: fields[1].map(slicesFrom), last: fields[2] }
    case 4:
      return { type: 'vectors', items: fields[1].map(vectorsFrom), last: fields[2] }
    case 5:
      return { type: 'updates', items: fields[1].map(([id, update]) => ({ page: id, update })) }
    case 6:
      return { type: 'wants', items: fields[1].map(wantsFrom), last: fields[2] }
    case 7:
      return { type: 'done', more: fields[1] }
  }
}

function slicesFrom([id, exponent, digests]: z.output<typeof slicesItem>): PageSlices {
  return { page: id, bits: exponent, digests }
}

function vectorsFrom([id, exponent, slices, rows]: z.output<typeof vectorsItem>): SliceVectors {
  return { page: id, bits: exponent, slices, rows: rows.map(([client, clock, tag]) => ({ client, clock, tag })) }
}

function wantsFrom([id, rows]: z.output<typeof wantsItem>): Wants {
  return { page: id, rows: rows?.map(([client, clock]) => ({ client, clock })) }
}
