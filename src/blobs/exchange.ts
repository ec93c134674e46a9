/**
 * The exchange protocol, `/murmurate/blobs/1`: how verified bytes pass between two peers.
 *
 * Goals
 * - Whoever downloads opens one channel to each peer and asks; whoever accepts it answers. Two nodes that fetch from each
 *   other have two channels. One direction each keeps both ends simple, and suits the bulk channel.
 * - Credit: the asker never has more asked for than it can take. For every chunk asked there is exactly one answer, DATA or
 *   REJECT, so both sides know at any time what is owed.
 * - Bytes are not copied: a DATA frame is a nine-byte head and the chunk as it was read.
 * - Peers serve what they have while they are still downloading; HAVE says what has come in since.
 * - Every number from the wire is bounded here, before anything is allocated or looked up.
 *
 * Non-goals
 * - Trust: a chunk is compared with its digest by whoever receives it, a block with its CID. Nothing else is believed.
 * - Discovery, encryption and authentication: the network's job.
 * - Fairness by tit for tat: the members of a mesh work for the same owner.
 *
 * Grammar (big-endian; one message a frame; `id` is chosen by the asker, unique on the channel)
 *
 * ```
 * asker    INTEREST = 1 id:u32 file:36 bytes          the CID of a file manifest; from now on `id` stands for the file
 *          LEAVE    = 2 id:u32                        no more HAVE for this interest
 *          REQUEST  = 3 id:u32 interest:u32 1*16(first:u32 count:u8)   at most 64 chunks and 1 MiB
 *          CANCEL   = 4 id:u32 chunk:u32              of a request; answered as any chunk
 *          WANT     = 5 id:u32 cid:36 bytes           a dag-cbor block
 * answerer BITFIELD = 17 interest:u32 count:u32 bits  once for each interest, before any HAVE
 *          HAVE     = 18 interest:u32 1*4096(first:u32 count:u32)
 *          DATA     = 19 request:u32 chunk:u32 bytes
 *          BLOCK    = 20 want:u32 total:u32 offset:u32 bytes           pieces of at most 256 KiB, in order
 *          REJECT   = 21 id:u32 chunk:u32 reason:u8   of an interest or want (chunk: all ones), or of one chunk of a request
 * ```
 */
import { MurmurateError } from '../core/errors.js'
import type { Cid } from '../core/ids.js'
import { maxChunkBytes } from './chunker.js'
import { cidBytes, cidFromBytes, cidToBytes } from './cid.js'
import { manifestLimits } from './manifest.js'

/** Name of the protocol. */
export const exchangeProtocol = '/murmurate/blobs/1'

/** What both sides hold each other to. */
export const exchangeLimits = Object.freeze({
  /** Chunk bytes in one request: four of the largest chunks. */
  requestBytes: 4 * maxChunkBytes,
  /** Chunks in one request; small ones would otherwise make long lists. */
  requestChunks: 64,
  /** Runs of chunks in one request. */
  requestRanges: 16,
  /** Chunk bytes that may be asked of one peer and not yet answered: 40 ms at 100 MB/s, so that a link never runs dry. */
  creditBytes: 4 * 1024 * 1024,
  /** Requests and wants that may be open at one peer. The answerer allows twice these before it hangs up. */
  openRequests: 32,
  /** Interests that may be open at one peer. */
  interests: 64,
  /** Runs in one HAVE. */
  haveRanges: 4096,
  /** Bytes of a block in one frame. */
  blockPieceBytes: 256 * 1024
})

/** Longest frame, either way: a chunk, a bitfield of 2^21 chunks or a piece of a block, and its head. */
export const maxExchangeFrameBytes =
  Math.max(maxChunkBytes, manifestLimits.chunks / 8, exchangeLimits.blockPieceBytes) + 64

/** In place of a chunk number: the REJECT is about the whole. */
export const noChunk = 0xffff_ffff

/** Why something was not given. */
export const rejectReasons = Object.freeze(['not-held', 'cancelled', 'failed'] as const)
/** Why something was not given. */
export type RejectReason = (typeof rejectReasons)[number]

/** A run of chunks. */
export interface ChunkRange {
  readonly first: number
  readonly count: number
}

/** What an asker says. */
export type AskerMessage =
  | { readonly type: 'interest'; readonly id: number; readonly file: Cid }
  | { readonly type: 'leave'; readonly id: number }
  | { readonly type: 'request'; readonly id: number; readonly interest: number; readonly ranges: readonly ChunkRange[] }
  | { readonly type: 'cancel'; readonly id: number; readonly chunk: number }
  | { readonly type: 'want'; readonly id: number; readonly cid: Cid }

/** What an answerer says. `bytes` are views of the frame. */
export type AnswererMessage =
  | { readonly type: 'bitfield'; readonly interest: number; readonly count: number; readonly bits: Uint8Array }
  | { readonly type: 'have'; readonly interest: number; readonly ranges: readonly ChunkRange[] }
  | { readonly type: 'data'; readonly request: number; readonly chunk: number; readonly bytes: Uint8Array }
  | {
      readonly type: 'block'
      readonly want: number
      readonly total: number
      readonly offset: number
      readonly bytes: Uint8Array
    }
  | { readonly type: 'reject'; readonly id: number; readonly chunk: number; readonly reason: RejectReason }

const codes = Object.freeze({
  interest: 1,
  leave: 2,
  request: 3,
  cancel: 4,
  want: 5,
  bitfield: 17,
  have: 18,
  data: 19,
  block: 20,
  reject: 21
})

const word = 4
const requestRangeBytes = word + 1
const haveRangeBytes = 2 * word

/** Type byte and words. */
function head(type: keyof typeof codes, ...words: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(1 + words.length * word)
  bytes[0] = codes[type]
  words.forEach((value, index) => bytes.writeUInt32BE(value, 1 + index * word))
  return bytes
}

function rangesOf(ranges: readonly ChunkRange[], bytesEach: number): Buffer {
  const bytes = Buffer.allocUnsafe(ranges.length * bytesEach)
  ranges.forEach(({ first, count }, index) => {
    bytes.writeUInt32BE(first, index * bytesEach)
    bytes.writeUIntBE(count, index * bytesEach + word, bytesEach - word)
  })
  return bytes
}

/** The frame of a message, in parts; large parts are passed on, not copied. */
export function encodeMessage(message: AskerMessage | AnswererMessage): readonly Uint8Array[] {
  switch (message.type) {
    case 'interest':
      return [head('interest', message.id), cidToBytes(message.file)]
    case 'leave':
      return [head('leave', message.id)]
    case 'request':
      return [head('request', message.id, message.interest), rangesOf(message.ranges, requestRangeBytes)]
    case 'cancel':
      return [head('cancel', message.id, message.chunk)]
    case 'want':
      return [head('want', message.id), cidToBytes(message.cid)]
    case 'bitfield':
      return [head('bitfield', message.interest, message.count), message.bits]
    case 'have':
      return [head('have', message.interest), rangesOf(message.ranges, haveRangeBytes)]
    case 'data':
      return [head('data', message.request, message.chunk), message.bytes]
    case 'block':
      return [head('block', message.want, message.total, message.offset), message.bytes]
    case 'reject':
      return [head('reject', message.id, message.chunk), Uint8Array.of(rejectReasons.indexOf(message.reason))]
  }
}

/** Reads a frame from its start to its end. */
class FrameReader {
  readonly #bytes: Buffer
  #at = 1

  constructor(frame: Uint8Array) {
    this.#bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength)
  }

  get type(): number {
    return this.#bytes[0] ?? 0
  }

  get left(): number {
    return this.#bytes.byteLength - this.#at
  }

  number(bytes = word): number {
    if (this.left < bytes) throw malformed('is too short')
    this.#at += bytes
    return this.#bytes.readUIntBE(this.#at - bytes, bytes)
  }

  cid(): Cid {
    if (this.left !== cidBytes) throw malformed('has no identifier of the right length')
    return cidFromBytes(this.rest(cidBytes))
  }

  rest(maxBytes: number): Uint8Array {
    if (this.left > maxBytes) throw malformed(`has ${this.left} bytes where ${maxBytes} are allowed`)
    const rest = this.#bytes.subarray(this.#at)
    this.#at = this.#bytes.byteLength
    return rest
  }

  ranges(bytesEach: number, max: number): readonly ChunkRange[] {
    const number = this.left / bytesEach
    if (!Number.isInteger(number) || number < 1 || number > max) throw malformed('has a wrong number of runs')
    return Array.from({ length: number }, () => this.#range(bytesEach))
  }

  end<T>(message: T): T {
    if (this.left > 0) throw malformed('is too long')
    return message
  }

  #range(bytesEach: number): ChunkRange {
    const range = { first: this.number(), count: this.number(bytesEach - word) }
    if (range.count < 1 || range.first + range.count > manifestLimits.chunks) throw malformed('names impossible chunks')
    return range
  }
}

function malformed(how: string): MurmurateError {
  return new MurmurateError('MALFORMED', `A message of the exchange ${how}`)
}

/** @throws MurmurateError `MALFORMED` */
export function decodeAskerMessage(frame: Uint8Array): AskerMessage {
  const reader = new FrameReader(frame)
  const id = reader.number()
  switch (reader.type) {
    case codes.interest:
      return { type: 'interest', id, file: reader.cid() }
    case codes.leave:
      return reader.end({ type: 'leave', id })
    case codes.request:
      return decodeRequest(reader, id)
    case codes.cancel:
      return reader.end({ type: 'cancel', id, chunk: reader.number() })
    case codes.want:
      return { type: 'want', id, cid: reader.cid() }
    default:
      throw malformed(`has the unknown type ${reader.type}`)
  }
}

function decodeRequest(reader: FrameReader, id: number): AskerMessage {
  const interest = reader.number()
  const ranges = reader.ranges(requestRangeBytes, exchangeLimits.requestRanges)
  const chunks = ranges.reduce((total, { count }) => total + count, 0)
  if (chunks > exchangeLimits.requestChunks) throw malformed(`asks for ${chunks} chunks`)
  return { type: 'request', id, interest, ranges }
}

/** @throws MurmurateError `MALFORMED` */
export function decodeAnswererMessage(frame: Uint8Array): AnswererMessage {
  const reader = new FrameReader(frame)
  const id = reader.number()
  switch (reader.type) {
    case codes.bitfield:
      return decodeBitfield(reader, id)
    case codes.have:
      return { type: 'have', interest: id, ranges: reader.ranges(haveRangeBytes, exchangeLimits.haveRanges) }
    case codes.data:
      return { type: 'data', request: id, chunk: reader.number(), bytes: reader.rest(maxChunkBytes) }
    case codes.block:
      return decodeBlock(reader, id)
    case codes.reject:
      return decodeReject(reader, id)
    default:
      throw malformed(`has the unknown type ${reader.type}`)
  }
}

function decodeBitfield(reader: FrameReader, interest: number): AnswererMessage {
  const count = reader.number()
  if (count > manifestLimits.chunks || reader.left !== Math.ceil(count / 8))
    throw malformed('has a bitfield that does not fit')
  return { type: 'bitfield', interest, count, bits: reader.rest(reader.left) }
}

function decodeBlock(reader: FrameReader, want: number): AnswererMessage {
  const [total, offset] = [reader.number(), reader.number()]
  const bytes = reader.rest(exchangeLimits.blockPieceBytes)
  if (total > manifestLimits.manifestBytes || bytes.byteLength === 0 || offset + bytes.byteLength > total) {
    throw malformed(`has bytes ${offset} to ${offset + bytes.byteLength} of a block of ${total}`)
  }
  return { type: 'block', want, total, offset, bytes }
}

function decodeReject(reader: FrameReader, id: number): AnswererMessage {
  const chunk = reader.number()
  const reason = rejectReasons[reader.number(1)]
  if (reason === undefined) throw malformed('has an unknown reason')
  return reader.end({ type: 'reject', id, chunk, reason })
}

/** The runs in a list of chunk numbers, in order; none longer than `maxCount`. */
export function rangesIn(chunks: Iterable<number>, maxCount = 255): ChunkRange[] {
  const ranges: { first: number; count: number }[] = []
  for (const chunk of [...chunks].sort((a, b) => a - b)) {
    const last = ranges.at(-1)
    if (last !== undefined && chunk === last.first + last.count && last.count < maxCount) last.count++
    else ranges.push({ first: chunk, count: 1 })
  }
  return ranges
}
