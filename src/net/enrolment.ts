/**
 * How a node that has a ticket gets what it needs to be one of the mesh, over a connection of its own: it cannot use the
 * mesh's, because it has no mesh secret yet.
 *
 * TCP, then TLS 1.3 with the ticket's key as external pre-shared key (RFC 8446, 2.2) and its id as identity: who does not
 * have the ticket ends in the handshake, on either side. Frames as in `framing`, each DAG-CBOR or a root:
 *
 * ```
 * joiner             inviter
 * application  ->              who I am, proved by a signature of the node key over this very connection
 *              <-    answer    welcome: the mesh secret, addresses, how many roots follow; or why not
 *              <-    root *    the fleet's roots from the first on
 * received     ->              an empty frame: the inviter may end
 * ```
 *
 * Goals: a ticket lets in one node, whatever fails (it is burnt before the secret goes out); nobody without the ticket
 * learns or blocks anything; the secret goes to a key that the joiner has.
 *
 * Non-goals: to resume a broken enrolment (ask for a new ticket), to keep the ticket's holders apart (the first wins).
 */
import { constants } from 'node:crypto'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import { z } from 'zod'
import { decode, encode } from '../core/codec.js'
import { MurmurateError } from '../core/errors.js'
import { parseNodeId, type NodeId } from '../core/ids.js'
import { maxRootVersions, maxSignedRootBytes, type FleetId } from '../identity/fleet-root.js'
import type { KeyPair } from '../identity/keypair.js'
import { sign, signatureBytes, type SignatureVerifier } from '../identity/signature.js'
import { isDialable } from './address.js'
import { encodeFrame, FrameDecoder } from './framing.js'

/** What a node that was let in gets. */
export interface Welcome {
  /** The mesh secret, in its text form. */
  readonly secret: string
  /** Multiaddrs of nodes to dial first; maybe none. */
  readonly peers: readonly string[]
  /** Root keys that have yet to sign before the node is a member; none when it is one. */
  readonly awaiting: readonly NodeId[]
  /** The fleet's signed roots, encoded, from the first on. */
  readonly roots: readonly Uint8Array[]
}

/** Why a node was not let in: the ticket was used before, or the inviter failed. A wrong signature gets no answer. */
export type Refusal = 'used' | 'failed'

/** Who wants to be let in. */
export interface Applicant {
  readonly nodeId: NodeId
  /** What people call it. */
  readonly name: string
}

/** What a signature of an application stands for, beside the node id. */
export interface Transcript {
  readonly ticketId: Uint8Array
  readonly fleetId: FleetId
  /** Both ends of one TLS connection derive the same value, other connections another (RFC 8446, 7.5). */
  readonly exporter: Uint8Array
}

/** Peers of a welcome: more than one answers somewhere. */
export const maxWelcomePeers = 32
/** Largest frame of the inviter: a root. A welcome holds 32 addresses of up to 300 characters and 16 keys: 11 kB. */
export const maxAnswerFrameBytes = maxSignedRootBytes
/** Largest frame of the joiner: an application holds a name, an id and a signature. */
export const maxApplicationBytes = 1024

const name = z.string().max(64)
const nodeId = z.string().transform((value, context) => {
  try {
    return parseNodeId(value)
  } catch {
    context.addIssue('not a node id')
    return z.NEVER
  }
})
const applicationSchema = z.strictObject({
  nodeId,
  name,
  signature: z.instanceof(Uint8Array).refine(({ byteLength }) => byteLength === signatureBytes)
})
const welcomeSchema = z.strictObject({
  secret: z.string().max(128),
  peers: z.array(z.string().max(300).refine(isDialable)).max(maxWelcomePeers),
  awaiting: z.array(nodeId).max(16),
  roots: z.int().min(1).max(maxRootVersions)
})
const refusalSchema = z.strictObject({ refused: z.enum(['used', 'failed']) })
const answerSchema = z.union([welcomeSchema, refusalSchema])

/** What the inviter says first: the welcome without its roots, or why not. */
export type Answer = z.infer<typeof answerSchema>

/** An application whose signature has not been verified. */
export interface Application extends Applicant {
  readonly signature: Uint8Array
}

/** Signs an application with the node's key. */
export function encodeApplication(keyPair: KeyPair, displayName: string, transcript: Transcript): Uint8Array {
  const signature = sign(keyPair, 'murmurate/join/1', signedBytes(keyPair.nodeId, transcript))
  return encode({ nodeId: keyPair.nodeId, name: displayName, signature })
}

/** @throws MurmurateError `MALFORMED` */
export function decodeApplication(bytes: Uint8Array): Application {
  return decode(bytes, applicationSchema, { maxBytes: maxApplicationBytes, what: 'An application' })
}

/** Whether the node of the application has signed it, for this connection and this ticket. */
export function isProved(application: Application, transcript: Transcript, verifier: SignatureVerifier): boolean {
  const message = signedBytes(application.nodeId, transcript)
  return verifier.verify(application.nodeId, 'murmurate/join/1', message, application.signature)
}

/** The frames of a welcome: itself, then each root. */
export function encodeWelcome({ secret, peers, awaiting, roots }: Welcome): Uint8Array[] {
  return [encode({ secret, peers, awaiting, roots: roots.length }), ...roots]
}

/** The frame of a refusal. */
export function encodeRefusal(refused: Refusal): Uint8Array {
  return encode({ refused })
}

/** @throws MurmurateError `MALFORMED` */
export function decodeAnswer(bytes: Uint8Array): Answer {
  return decode(bytes, answerSchema, { maxBytes: maxAnswerFrameBytes, what: 'The answer of the inviter' })
}

function signedBytes(id: NodeId, { ticketId, fleetId, exporter }: Transcript): Uint8Array {
  return encode([ticketId, fleetId, id, exporter])
}

/**
 * AES-256 is left out: its hash is SHA-384, and a pre-shared key is good for one hash, here SHA-256. Without tickets of
 * TLS itself, no session goes on after the key has had its use.
 */
export const tlsSettings: SecureContextOptions = Object.freeze({
  minVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256',
  secureOptions: constants.SSL_OP_NO_TICKET
})

/** The value that binds a signature to one connection. */
export function exporterOf(socket: TLSSocket): Uint8Array {
  return new Uint8Array(socket.exportKeyingMaterial(32, 'EXPORTER-murmurate-join-1', Buffer.alloc(0)))
}

/** One frame after another; ends when the other side does. Memory: one frame. Leaves the socket open. */
export async function* readFrames(
  socket: TLSSocket,
  maxFrameBytes: number
): AsyncGenerator<Uint8Array, void, undefined> {
  const decoder = new FrameDecoder(maxFrameBytes)
  const chunks: AsyncIterable<Uint8Array> = socket.iterator({ destroyOnReturn: false })
  for await (const chunk of chunks) yield* decoder.push(chunk)
}

/** The next frame. @throws MurmurateError `NETWORK_ERROR` when the other side has ended */
export async function nextFrame(frames: AsyncGenerator<Uint8Array, void, undefined>): Promise<Uint8Array> {
  const { value } = await frames.next()
  if (value !== undefined) return value
  throw new MurmurateError('NETWORK_ERROR', 'The connection was closed before all was said')
}

/** Resolves when the frame is with the operating system. */
export function sendFrame(socket: TLSSocket, frame: Uint8Array): Promise<void> {
  const bytes = Buffer.concat(encodeFrame([frame], maxAnswerFrameBytes))
  return new Promise((resolve, reject) => socket.write(bytes, (error) => (error ? reject(error) : resolve())))
}
