/**
 * What nodes say of presence, signed: that they are here, that they leave, and that another one does not answer.
 *
 * ```
 * message    = DAG-CBOR statement | accusation
 * statement  = [0 alive | 1 left, node, epoch, seq, signature]
 * accusation = [2, accuser, hard, statement, signature]
 * ```
 *
 * Goals: only the node itself says that it is alive, with (epoch, seq) above all that it said before; an accusation carries
 * the statement that it doubts, so that nobody can accuse a node that does not exist or a moment that has not been.
 * Non-goals: proof that a node is gone; an accuser may err or lie, and is refuted.
 */
import { z } from 'zod'
import { decode, encode } from '../core/codec.js'
import { MurmurateError } from '../core/errors.js'
import { parseNodeId, type NodeId } from '../core/ids.js'
import type { KeyPair } from '../identity/keypair.js'
import { sign, signatureBytes, type SignatureVerifier } from '../identity/signature.js'

/** A point in the life of a node; each start and each refutation is a later one. */
export interface Incarnation {
  readonly epoch: number
  readonly seq: number
}

/** What a node says of itself. */
export interface Statement extends Incarnation {
  readonly type: 'alive' | 'left'
  readonly nodeId: NodeId
  readonly signature: Uint8Array
}

/** What a node says of another. */
export interface Accusation {
  readonly type: 'accusation'
  readonly accuser: NodeId
  /** Whether its link was closed without a goodbye and its port refused a knock; else it is only silent. */
  readonly hard: boolean
  /** What is doubted. */
  readonly statement: Statement
  readonly signature: Uint8Array
}

/** A message of presence. */
export type PresenceMessage = Statement | Accusation

/** Largest message: two ids, two signatures, four numbers and the heads of CBOR come to 290 bytes. */
export const maxMessageBytes = 320

const domain = 'murmurate/presence/1'
const kinds = { alive: 0, left: 1, accusation: 2 } as const
const nodeSchema = z.string().max(64)
/** Room is left above, so that a node can always go beyond what is held of it. */
const counterSchema = z
  .int()
  .nonnegative()
  .max(2 ** 52)
const signatureSchema = z.instanceof(Uint8Array).refine(({ byteLength }) => byteLength === signatureBytes)
const statementSchema = z.tuple([
  z.literal([kinds.alive, kinds.left]),
  nodeSchema,
  counterSchema,
  counterSchema,
  signatureSchema
])
const accusationSchema = z.tuple([
  z.literal(kinds.accusation),
  nodeSchema,
  z.boolean(),
  statementSchema,
  signatureSchema
])
const messageSchema = z.union([statementSchema, accusationSchema])

/** Whether one point in the life of a node is later than another. */
export function isLater(one: Incarnation, other: Incarnation): boolean {
  return one.epoch > other.epoch || (one.epoch === other.epoch && one.seq > other.seq)
}

/** A node's own words on itself. */
export function makeStatement(keyPair: KeyPair, type: Statement['type'], { epoch, seq }: Incarnation): Statement {
  const { nodeId } = keyPair
  const unsigned = { type, nodeId, epoch, seq }
  return { ...unsigned, signature: sign(keyPair, domain, statementBytes(unsigned)) }
}

/** An accusation of this node. */
export function makeAccusation(keyPair: KeyPair, statement: Statement, hard: boolean): Accusation {
  const unsigned = { accuser: keyPair.nodeId, hard, statement }
  return { type: 'accusation', ...unsigned, signature: sign(keyPair, domain, accusationBytes(unsigned)) }
}

/** The bytes of a message. */
export function encodeMessage(message: PresenceMessage): Uint8Array {
  if (message.type !== 'accusation') return encode(statementTuple(message))
  const { accuser, hard, statement, signature } = message
  return encode([kinds.accusation, accuser, hard, statementTuple(statement), signature])
}

/**
 * Decodes a message and verifies all its signatures.
 *
 * @throws MurmurateError `MALFORMED`; `INVALID_REQUEST` for a malformed node id
 */
export function decodeMessage(bytes: Uint8Array, verifier: SignatureVerifier): PresenceMessage {
  const message = fromTuple(decode(bytes, messageSchema, { maxBytes: maxMessageBytes, what: 'A message of presence' }))
  const statement = message.type === 'accusation' ? message.statement : message
  const genuine = verifier.verify(statement.nodeId, domain, statementBytes(statement), statement.signature)
  if (!genuine || (message.type === 'accusation' && !isGenuine(message, verifier)))
    throw new MurmurateError('MALFORMED', `A message of presence on ${statement.nodeId} has a wrong signature`)
  return message
}

/** Nobody accuses itself, and who said goodbye is not accused. */
function isGenuine(accusation: Accusation, verifier: SignatureVerifier): boolean {
  const { accuser, statement, signature } = accusation
  if (accuser === statement.nodeId || statement.type === 'left') return false
  return verifier.verify(accuser, domain, accusationBytes(accusation), signature)
}

function fromTuple(tuple: z.infer<typeof messageSchema>): PresenceMessage {
  if (tuple[0] !== kinds.accusation) return toStatement(tuple)
  const [, accuser, hard, statement, signature] = tuple
  return { type: 'accusation', accuser: parseNodeId(accuser), hard, statement: toStatement(statement), signature }
}

function toStatement([kind, nodeId, epoch, seq, signature]: z.infer<typeof statementSchema>): Statement {
  return { type: kind === kinds.alive ? 'alive' : 'left', nodeId: parseNodeId(nodeId), epoch, seq, signature }
}

function statementTuple({ type, nodeId, epoch, seq, signature }: Statement): unknown[] {
  return [kinds[type], nodeId, epoch, seq, signature]
}

function statementBytes({ type, nodeId, epoch, seq }: Omit<Statement, 'signature'>): Uint8Array {
  return encode([kinds[type], nodeId, epoch, seq])
}

function accusationBytes({ accuser, hard, statement }: Omit<Accusation, 'type' | 'signature'>): Uint8Array {
  return encode([kinds.accusation, accuser, hard, statement.nodeId, statement.epoch, statement.seq])
}
