import { z } from 'zod'
import { decode, encode } from '../core/codec.js'
import { parseNodeId, type NodeId } from '../core/ids.js'
import { maxMessageBytes } from './presence-message.js'
import { digestBytes, summaryBytes } from './roster-digest.js'

/** What a ping and its answer have in common. */
interface Sign {
  readonly nonce: number
  /** Of the sender's roster. */
  readonly digest: Uint8Array
  /** Whether the sender watches the receiver by its own choice: then the receiver watches it too. */
  readonly chosen: boolean
}

/** Are you there? */
export interface Ping extends Sign {
  readonly type: 'ping'
  /** How long ago the sender heard the receiver, ms. */
  readonly silentMs: number
}

/** I am. */
export interface Pong extends Sign {
  readonly type: 'pong'
}

/** A message of two neighbours to each other. */
export type WatchFrame =
  | Ping
  | Pong
  /** Do you hear this one? */
  | { readonly type: 'ask'; readonly id: number; readonly target: NodeId }
  /** Heard this long ago, ms; undefined for not at all. */
  | { readonly type: 'answer'; readonly id: number; readonly silentMs: number | undefined }
  /** Messages of presence that the other should have. */
  | { readonly type: 'news'; readonly messages: readonly Uint8Array[] }
  /** Digests of all buckets of the roster: send what differs. */
  | { readonly type: 'summary'; readonly digests: Uint8Array }

/** Messages in one frame of news. */
export const maxNews = 100
/** Largest frame: news with as many messages as are allowed. */
export const maxWatchFrameBytes = maxNews * (maxMessageBytes + 4) + 16

const kinds = { ping: 1, pong: 2, ask: 3, answer: 4, news: 5, summary: 6 } as const
const count = z.int().nonnegative()
const digest = z.instanceof(Uint8Array).refine(({ byteLength }) => byteLength === digestBytes)
const frameSchema = z.union([
  z.tuple([z.literal(kinds.ping), count, digest, z.boolean(), count]),
  z.tuple([z.literal(kinds.pong), count, digest, z.boolean()]),
  z.tuple([z.literal(kinds.ask), count, z.string().max(64)]),
  z.tuple([z.literal(kinds.answer), count, count.nullable()]),
  z.tuple([z.literal(kinds.news), z.array(z.instanceof(Uint8Array)).max(maxNews)]),
  z.tuple([z.literal(kinds.summary), z.instanceof(Uint8Array).refine(({ byteLength }) => byteLength === summaryBytes)])
])

/** The bytes of a frame. */
export function encodeFrame(frame: WatchFrame): Uint8Array {
  switch (frame.type) {
    case 'ping':
      return encode([kinds.ping, frame.nonce, frame.digest, frame.chosen, wholeMs(frame.silentMs)])
    case 'pong':
      return encode([kinds.pong, frame.nonce, frame.digest, frame.chosen])
    case 'ask':
      return encode([kinds.ask, frame.id, frame.target])
    case 'answer':
      return encode([kinds.answer, frame.id, frame.silentMs === undefined ? null : wholeMs(frame.silentMs)])
    case 'news':
      return encode([kinds.news, frame.messages])
    case 'summary':
      return encode([kinds.summary, frame.digests])
  }
}

/** @throws MurmurateError `MALFORMED`; `INVALID_REQUEST` for a malformed node id */
export function decodeFrame(bytes: Uint8Array): WatchFrame {
  const frame = decode(bytes, frameSchema, { maxBytes: maxWatchFrameBytes, what: 'A watch frame' })
  switch (frame[0]) {
    case kinds.ping:
      return { type: 'ping', nonce: frame[1], digest: frame[2], chosen: frame[3], silentMs: frame[4] }
    case kinds.pong:
      return { type: 'pong', nonce: frame[1], digest: frame[2], chosen: frame[3] }
    case kinds.ask:
      return { type: 'ask', id: frame[1], target: parseNodeId(frame[2]) }
    case kinds.answer:
      return { type: 'answer', id: frame[1], silentMs: frame[2] ?? undefined }
    case kinds.news:
      return { type: 'news', messages: frame[1] }
    case kinds.summary:
      return { type: 'summary', digests: frame[1] }
  }
}

/** A process that was held up sets its clock back by what it slept: a moment may then lie ahead. */
function wholeMs(ms: number): number {
  return Math.max(0, Math.round(ms))
}
