import { hash } from 'node:crypto'
import { MurmurateError } from '../core/errors.js'
import type { NodeId, PageId } from '../core/ids.js'
import type { KeyPair } from '../identity/keypair.js'
import { publicKeyOf } from '../identity/node-id.js'
import { sign, signatureBytes, type SignedClaim } from '../identity/signature.js'
import { ByteReader, ByteWriter } from './byte-stream.js'

/** Largest value of an entry. A gossip message of 256 KiB must hold one with room to spare. */
export const maxEntryBytes = 128 * 1024

/** One writer's signed value on a page, as admission leaves it: verified and decoded. */
export interface Entry<Body = unknown> {
  readonly page: PageId
  readonly writer: NodeId
  /**
   * Rises at every start of the writer, by a random step, and when it finds its store older than what the mesh has seen of
   * it: so a restored disk never repeats a pair (epoch, seq).
   */
  readonly epoch: number
  /** The Yjs clock of the value: how often the writer has overwritten it. Orders the writer's values. */
  readonly seq: number
  /** The writer's wall clock, ms since 1970. Advisory: never used for order. */
  readonly issuedAt: number
  readonly body: Body
}

/** What a writer says with an entry, and when. */
export interface EntryContent {
  readonly epoch: number
  readonly issuedAt: number
  /** Canonical DAG-CBOR. */
  readonly body: Uint8Array
}

/** An entry before its body is looked at. Its bytes are views into the value. */
export interface SealedEntry extends EntryContent {
  readonly signature: Uint8Array
  /** Epoch, time and body as they stand in the value: what was signed, so that nobody else can write them another way. */
  readonly content: Uint8Array
}

/** Where a value stands: page, writer and clock. */
export interface EntryPosition {
  readonly page: PageId
  readonly writer: NodeId
  readonly seq: number
}

const entryDomain = 'murmurate/entry/1'
/** A number below 2^53 takes at most 8 bytes. */
const numberBytes = 8

/** Ids have no zero bytes and numbers end themselves, so that no two entries have the same message. */
function messageOf({ page, writer, seq }: EntryPosition, content: Uint8Array): Uint8Array {
  const names = `${page}\0${writer}\0`
  const message = new ByteWriter(names.length + numberBytes + content.byteLength)
  message.ascii(names)
  message.varuint(seq)
  message.raw(content)
  return message.done()
}

/** Signs a body for one position and returns the value to store there: signature, epoch, time, body. */
export function sealEntry(
  keyPair: KeyPair,
  position: EntryPosition,
  { epoch, issuedAt, body }: EntryContent
): Uint8Array {
  const writer = new ByteWriter(2 * numberBytes + body.byteLength)
  writer.varuint(epoch)
  writer.varuint(issuedAt)
  writer.raw(body)
  const content = writer.done()
  const value = new Uint8Array(signatureBytes + content.byteLength)
  value.set(sign(keyPair, entryDomain, messageOf(position, content)))
  value.set(content, signatureBytes)
  return value
}

/**
 * Splits a stored value.
 *
 * @throws MurmurateError `MALFORMED`
 */
export function openEntry(value: Uint8Array): SealedEntry {
  if (value.byteLength > maxEntryBytes) {
    throw new MurmurateError('MALFORMED', `An entry has ${value.byteLength} bytes, the limit is ${maxEntryBytes}`)
  }
  const reader = new ByteReader(value, 'An entry')
  const signature = reader.take(signatureBytes)
  const content = value.subarray(signatureBytes)
  const [epoch, issuedAt] = [reader.varuint(), reader.varuint()]
  return { epoch, issuedAt, body: reader.rest(), signature, content }
}

/** What has to be verified of a value: that its writer signed it for this position. */
export function claimOf(
  position: EntryPosition,
  { content, signature }: Pick<SealedEntry, 'content' | 'signature'>
): SignedClaim {
  return { signer: position.writer, domain: entryDomain, message: messageOf(position, content), signature }
}

const clientDomain = Buffer.from('murmurate/client/1\0')

/**
 * The Yjs client id of a writer on a page: the first 53 bits of SHA-256 over a label, the public key and the page id.
 * The same after every restart, so that a restart adds no writer.
 */
export function clientIdOf(page: PageId, writer: NodeId, publicKey = publicKeyOf(writer)): number {
  const named = Buffer.concat([clientDomain, publicKey, Buffer.from(page)])
  const digest = hash('sha256', named, 'buffer')
  const id = digest.readUInt32BE(0) * 2 ** 21 + (digest.readUInt32BE(4) >>> 11)
  return Math.max(1, id)
}
