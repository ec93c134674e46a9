/**
 * The part of Yjs' update encoding, version 1, that pages are made of.
 *
 * Goals: parse what a peer sends with a bounded, allocation-free reader before Yjs sees it; write the same form.
 * Non-goals: other content than binary and deleted, version 2, delete sets (a chain implies what was overwritten).
 *
 * ```
 * update    = varuint(clients) client* deleteSet
 * client    = varuint(structs) varuint(clientId) varuint(clock) struct*
 * struct    = info origin? rightOrigin? parent? content
 * info      = u8: content kind (low 5 bits) | 0x80 has origin | 0x40 has right origin | 0x20 has a map key
 * origin    = varuint(clientId) varuint(clock)
 * parent    = only without origins: varuint(1) string(root name) string(map key)
 * content   = kind 1: varuint(length) of deleted values | kind 3: varuint(length) bytes
 * deleteSet = varuint(clients) (varuint(clientId) varuint(ranges) (varuint(clock) varuint(length))*)*
 * ```
 * https://github.com/yjs/yjs/blob/main/src/utils/encoding.js and src/structs/Item.js
 */
import { MurmurateError } from '../core/errors.js'
import { ByteReader, ByteWriter } from './byte-stream.js'

/** The name of the one root map of every page. Short, because it stands in the first value of every writer. */
export const rootName = 'e'

/** Yjs content kinds that occur in pages. */
const deletedKind = 1
const binaryKind = 3
const hasOrigin = 0x80
const hasRightOrigin = 0x40
const hasMapKey = 0x20
const kindMask = 0x1f
/** Clocks stay below 2^52: sums of them are still whole numbers, and no writer can put one on a page that others cannot pass on. */
const maxClock = 2 ** 52
/** Node ids have 52 characters. */
const maxKeyBytes = 64

/**
 * What one client adds to a page: its values with the clocks `start` to `seq`, of which only the last is kept.
 * A client overwrites one key, so the origin of each value is the one before it.
 */
export interface Chain {
  /** Yjs client id, 53 bits. */
  readonly client: number
  /** Clock of the first value in this update. */
  readonly start: number
  /** Clock of the last value. */
  readonly seq: number
  /** The last value: one whole signed entry. A view into what was parsed. */
  readonly value: Uint8Array
  /** The map key; present only when the chain starts at clock 0. */
  readonly key: string | undefined
}

/**
 * Parses an update.
 *
 * @throws MurmurateError `MALFORMED` for anything but well-formed chains; counts are checked before anything is allocated
 */
export function parseUpdate(update: Uint8Array): Chain[] {
  const reader = new ByteReader(update, 'The page update')
  const chains: Chain[] = []
  // The smallest client block has 3 varuints and one struct of 3 bytes.
  for (let left = reader.count(6); left > 0; left--) chains.push(readChain(reader))
  skipDeleteSet(reader)
  reader.end()
  return chains
}

function readChain(reader: ByteReader): Chain {
  let structs = reader.count(3)
  const client = reader.varuint()
  const start = addClock(reader.varuint(), 0)
  if (structs === 0) throw malformed('a client without values')
  let clock = start
  let key: string | undefined
  for (; ; structs--) {
    const info = reader.byte()
    const mapKey = readPosition(reader, info, client, clock)
    if (clock === start) key = mapKey
    if ((info & kindMask) === binaryKind) {
      const value = reader.bytes()
      if (structs === 1) return { client, start, seq: clock, value, key }
      clock = addClock(clock, 1)
    } else if ((info & kindMask) === deletedKind) {
      const length = reader.varuint()
      if (length === 0) throw malformed('an empty content')
      clock = addClock(clock, length)
    } else {
      throw malformed(`content of kind ${info & kindMask}`)
    }
    if (structs === 1) throw malformed('a chain that ends in a deleted value')
  }
}

/** Checks that a value overwrites the one before it; returns the map key of the first value of a client. */
function readPosition(reader: ByteReader, info: number, client: number, clock: number): string | undefined {
  if ((info & hasRightOrigin) !== 0) throw malformed('a right origin')
  if (clock === 0) {
    if ((info & hasOrigin) !== 0 || (info & hasMapKey) === 0) throw malformed('a first value without a map key')
    if (reader.varuint() !== 1 || reader.string(maxKeyBytes) !== rootName) throw malformed('a foreign root type')
    return reader.string(maxKeyBytes)
  }
  if ((info & hasOrigin) === 0) throw malformed('a value without an origin')
  if (reader.varuint() !== client || reader.varuint() !== clock - 1)
    throw malformed('an origin that is not the value before')
  return undefined
}

function addClock(clock: number, length: number): number {
  const sum = clock + length
  if (sum >= maxClock) throw malformed('a clock above 2^52')
  return sum
}

function skipDeleteSet(reader: ByteReader): void {
  for (let clients = reader.count(2); clients > 0; clients--) {
    reader.varuint()
    for (let ranges = reader.count(2); ranges > 0; ranges--) {
      reader.varuint()
      reader.varuint()
    }
  }
}

function malformed(what: string): MurmurateError {
  return new MurmurateError('MALFORMED', `The page update contains ${what}`)
}

/** Writes chains as one update that `Y.applyUpdate` of any Yjs understands. */
export function writeUpdate(chains: readonly Chain[]): Uint8Array {
  const writer = new ByteWriter(chains.reduce((sum, chain) => sum + chain.value.byteLength + 128, 8))
  writer.varuint(chains.length)
  for (const chain of chains) writeChain(writer, chain)
  writer.varuint(0)
  return writer.done()
}

function writeChain(writer: ByteWriter, chain: Chain): void {
  const overwritten = chain.seq - chain.start
  writer.varuint(overwritten > 0 ? 2 : 1)
  writer.varuint(chain.client)
  writer.varuint(chain.start)
  if (overwritten > 0) {
    writePosition(writer, chain, chain.start, deletedKind)
    writer.varuint(overwritten)
  }
  writePosition(writer, chain, chain.seq, binaryKind)
  writer.bytes(chain.value)
}

function writePosition(writer: ByteWriter, chain: Chain, clock: number, kind: number): void {
  writer.byte(kind | hasMapKey | (clock > 0 ? hasOrigin : 0))
  if (clock > 0) {
    writer.varuint(chain.client)
    writer.varuint(clock - 1)
    return
  }
  if (chain.key === undefined) throw new MurmurateError('INTERNAL', 'A chain from clock 0 needs its key')
  writer.varuint(1)
  writer.bytes(Buffer.from(rootName))
  writer.bytes(Buffer.from(chain.key))
}
