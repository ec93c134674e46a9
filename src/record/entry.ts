import { createHash } from 'node:crypto'
import { z } from 'zod'
import { decode, encode, equalBytes } from '../core/codec.js'
import { MurmurateError } from '../core/errors.js'
import type { NodeId, PageId } from '../core/ids.js'
import type { KeyPair } from '../identity/keypair.js'
import { publicKeyOf } from '../identity/node-id.js'
import { sign, signatureBytes, type SignatureVerifier } from '../identity/signature.js'

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

/** An entry before its body is looked at. */
export interface SealedEntry {
  readonly epoch: number
  readonly issuedAt: number
  /** Canonical DAG-CBOR. */
  readonly body: Uint8Array
  readonly signature: Uint8Array
}

const bytes = z.instanceof(Uint8Array)
const counter = z.int().nonnegative()
/** `[epoch, issuedAt, body, signature]`; page, writer and seq are where the value stands, and under the signature. */
const sealedSchema = z.tuple([counter, counter, bytes, bytes.refine((value) => value.byteLength === signatureBytes)])

/** Where a value stands: page, writer and clock. */
export interface EntryPosition {
  readonly page: PageId
  readonly writer: NodeId
  readonly seq: number
}

function signedBytes(position: EntryPosition, sealed: Omit<SealedEntry, 'signature'>): Uint8Array {
  const { page, writer, seq } = position
  return encode({ page, writer, epoch: sealed.epoch, seq, issuedAt: sealed.issuedAt, body: sealed.body })
}

/** Signs a body for one position and returns the value to store there. */
export function sealEntry(
  keyPair: KeyPair,
  position: EntryPosition,
  content: Omit<SealedEntry, 'signature'>
): Uint8Array {
  const signature = sign(keyPair, 'murmurate/entry/1', signedBytes(position, content))
  return encode([content.epoch, content.issuedAt, content.body, signature])
}

/**
 * Splits a stored value.
 *
 * @throws MurmurateError `MALFORMED`
 */
export function openEntry(value: Uint8Array): SealedEntry {
  const fields = decode(value, sealedSchema, { maxBytes: maxEntryBytes, what: 'An entry' })
  // One signature, one value: else anyone could write 1 as 1.0 and make digests differ for ever.
  if (!equalBytes(encode(fields), value)) throw new MurmurateError('MALFORMED', 'An entry is not canonical')
  const [epoch, issuedAt, body, signature] = fields
  return { epoch, issuedAt, body, signature }
}

/** Whether the writer signed this value for this position. */
export function verifyEntry(verifier: SignatureVerifier, position: EntryPosition, sealed: SealedEntry): boolean {
  return verifier.verify(position.writer, 'murmurate/entry/1', signedBytes(position, sealed), sealed.signature)
}

/**
 * The Yjs client id of a writer on a page: the first 53 bits of SHA-256 over a label, the public key and the page id.
 * The same after every restart, so that a restart adds no writer.
 */
export function clientIdOf(page: PageId, writer: NodeId): number {
  const digest = createHash('sha256').update('murmurate/client/1\0').update(publicKeyOf(writer)).update(page).digest()
  const id = digest.readUInt32BE(0) * 2 ** 21 + (digest.readUInt32BE(4) >>> 11)
  return Math.max(1, id)
}
