import { createHash } from 'node:crypto'
import { z } from 'zod'
import { check, decode, encode, equalBytes } from '../core/codec.js'
import { MurmurateError } from '../core/errors.js'
import { parseNodeId, type Branded, type NodeId } from '../core/ids.js'
import type { KeyPair } from './keypair.js'
import { publicKeyOf } from './node-id.js'
import { sign, signatureBytes, SignatureVerifier } from './signature.js'

/** Names a fleet for good: the hash of the first version of its root. `murmurate-fleet-1:` and 43 characters. */
export type FleetId = Branded<string, 'FleetId'>

/** Who may do what in a fleet. The rule by which it changes is that of The Update Framework (specification, 6.1). */
export interface FleetRoot {
  /** 1, then one more with every change. */
  readonly version: number
  /** Ed25519 keys that sign roots, in the form of node ids; 1 to 16. None of them is revoked. */
  readonly keys: readonly NodeId[]
  /** How many of the keys must sign, 1 to the number of keys. */
  readonly threshold: number
  /** Who may order rollouts. They are members too. */
  readonly operators: readonly NodeId[]
  /** Who may publish releases. They are members too. */
  readonly publishers: readonly NodeId[]
  /** How many publishers must sign the same release before it counts, 1 to 256. */
  readonly releaseThreshold: number
  /** `open`: whoever has the mesh secret; else those on this list and those with a role. */
  readonly members: 'open' | readonly NodeId[]
  /** Whoever is here has no right at all, whatever the other lists say. */
  readonly revoked: readonly NodeId[]
  /** Wall clock of whoever drafted it, ms since 1970. Advisory. */
  readonly issuedAt: number
  /** When its owners meant to have renewed it, ms since 1970. Advisory: a fleet that is offline goes on. */
  readonly expires?: number
}

/** One key's signature of a root. */
export interface RootSignature {
  readonly key: NodeId
  /** 64 bytes. */
  readonly signature: Uint8Array
}

/** A root with the signatures that it has so far. A draft is one that still lacks some. */
export interface SignedRoot {
  readonly root: FleetRoot
  /** Canonical DAG-CBOR of the root: what is signed. */
  readonly bytes: Uint8Array
  /** Sorted by key, each key once. */
  readonly signatures: readonly RootSignature[]
}

/** What a draft changes; what is not named stays, but for `expires`: each root has its own or none. */
export type RootChanges = Partial<Omit<FleetRoot, 'version'>> & Pick<FleetRoot, 'issuedAt'>

/** Keys of one root. */
const maxKeys = 16
/** Ids on all lists of a root together, its keys aside. */
const maxListed = 2048
/**
 * Largest encoded signed root: 2048 listed ids and 16 keys of 54 bytes (111 kB), 32 signatures of 121 bytes (4 kB: those of two
 * sets of keys), and the rest below 1 kB, rounded up.
 */
export const maxSignedRootBytes = 128 * 1024
/** Versions that a root can have: one change a day for nearly three years. A node keeps them all, to show them to newcomers. */
export const maxRootVersions = 1024

const fleetPrefix = 'murmurate-fleet-1:'
const fleetPattern = /^murmurate-fleet-1:[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/

const nodeId = z.string().transform((value, context) => parsedId(value, context))
const ids = z
  .array(nodeId)
  .max(maxListed)
  .refine((list) => list.every((id, at) => at === 0 || (list[at - 1] ?? '') < id), 'sorted, and nobody twice')
const keys = ids
  .min(1)
  .max(maxKeys)
  .refine((list) => list.every(isEd25519), 'each is the id of an Ed25519 key')
const moment = z.int().nonnegative()
const rootSchema: z.ZodType<FleetRoot> = z
  .strictObject({
    version: z.int().min(1).max(maxRootVersions),
    keys,
    threshold: z.int().min(1),
    operators: ids,
    publishers: ids,
    releaseThreshold: z.int().min(1).max(256),
    members: z.union([z.literal('open'), ids]),
    revoked: ids,
    issuedAt: moment,
    expires: moment.exactOptional()
  })
  .refine((root) => root.threshold <= root.keys.length, 'threshold is at most the number of keys')
  .refine(
    (root) => !root.keys.some((key) => root.revoked.includes(key)),
    'a revoked key cannot sign: take it from keys'
  )
  .refine((root) => listedOf(root) <= maxListed, `at most ${maxListed} ids on all lists`)
const signedSchema = z.tuple([
  z.instanceof(Uint8Array),
  z
    .array(z.tuple([nodeId, z.instanceof(Uint8Array).refine((value) => value.byteLength === signatureBytes)]))
    .max(2 * maxKeys)
    .refine((list) => list.every(([key], at) => at === 0 || (list[at - 1]?.[0] ?? '') < key), 'sorted, each key once')
])

/**
 * The first version of a root, which founds a fleet; not signed yet.
 *
 * @throws MurmurateError `INVALID_REQUEST`
 */
export function createRoot(init: Omit<FleetRoot, 'version'>): SignedRoot {
  return unsigned({ ...init, version: 1 })
}

/**
 * The next version of a root; not signed yet.
 *
 * @throws MurmurateError `INVALID_REQUEST`
 */
export function draftNext(current: FleetRoot, changes: RootChanges): SignedRoot {
  const { expires: _, ...kept } = current
  return unsigned({ ...kept, ...changes, version: current.version + 1 })
}

/** Adds the signature of one key, or leaves it as it is when that key has signed. */
export function signRoot(draft: SignedRoot, keyPair: KeyPair): SignedRoot {
  return withSignature(draft, { key: keyPair.nodeId, signature: sign(keyPair, 'murmurate/root/1', draft.bytes) })
}

/**
 * Adds a signature that was made elsewhere of the same draft.
 *
 * @throws MurmurateError `ROOT_REFUSED` when it is not one of this draft
 */
export function addSignature(draft: SignedRoot, added: RootSignature): SignedRoot {
  const verifier = new SignatureVerifier({ capacity: 1 })
  if (!isSignatureOf(draft, added, verifier)) throw refused(`the signature of ${added.key} is not one of this root`)
  return withSignature(draft, added)
}

/** The form in which a signed root, or a draft, is kept and sent. */
export function encodeSignedRoot({ bytes, signatures }: SignedRoot): Uint8Array {
  return encode([bytes, signatures.map(({ key, signature }) => [key, signature])])
}

/**
 * Takes a signed root, or a draft, apart and checks its form. Its signatures are not verified here.
 *
 * @throws MurmurateError `MALFORMED`
 */
export function decodeSignedRoot(encoded: Uint8Array): SignedRoot {
  const what = 'A signed fleet root'
  const [bytes, signatures] = decode(encoded, signedSchema, { maxBytes: maxSignedRootBytes, what })
  const root = decode(bytes, rootSchema, { maxBytes: maxSignedRootBytes, what: 'A fleet root' })
  const signed = { root, bytes, signatures: signatures.map(([key, signature]) => ({ key, signature })) }
  // One meaning, one byte string, else the same root would have two ids: 1 may come as 1.0. What is around it has no numbers.
  if (equalBytes(encode(root), bytes)) return signed
  throw new MurmurateError('MALFORMED', `${what} is not canonical`)
}

/** The fleet that this first root founds. */
export function fleetIdOf({ bytes }: SignedRoot): FleetId {
  return `${fleetPrefix}${hashOf(bytes)}` as FleetId
}

/** @throws MurmurateError `INVALID_REQUEST` */
export function parseFleetId(value: unknown): FleetId {
  const text = typeof value === 'string' ? value.trim() : ''
  if (fleetPattern.test(text)) return text as FleetId
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : typeof value
  throw new MurmurateError('INVALID_REQUEST', `${shown} is not a fleet id: "${fleetPrefix}" followed by 43 characters`)
}

/** Tells apart two roots of one version: 43 characters. */
export function rootHash({ bytes }: SignedRoot): string {
  return hashOf(bytes)
}

/**
 * Checks that a root is the one which founded a fleet: its hash is the fleet's id, and enough of its own keys signed it.
 *
 * @throws MurmurateError `ROOT_REFUSED`
 */
export function verifyFirst(fleetId: FleetId, first: SignedRoot): void {
  if (first.root.version !== 1) throw refused(`the first has version ${first.root.version}`)
  if (fleetIdOf(first) !== fleetId) throw refused(`it founds ${fleetIdOf(first)}, and this fleet is ${fleetId}`)
  verifySignatures([first.root], first)
}

/**
 * Checks that a root may come after the present one: its version is the next, and enough keys of both roots signed it.
 *
 * @throws MurmurateError `ROOT_REFUSED`
 */
export function verifyNext(current: SignedRoot, next: SignedRoot): void {
  const expected = current.root.version + 1
  if (next.root.version !== expected) throw refused(`version ${expected} is expected, this is ${next.root.version}`)
  verifySignatures([current.root, next.root], next)
}

/**
 * Checks the roots of a fleet from the first on, and returns the last.
 *
 * @throws MurmurateError `ROOT_REFUSED`
 */
export function verifyChain(fleetId: FleetId, roots: readonly SignedRoot[]): SignedRoot {
  let current: SignedRoot | undefined
  for (const root of roots) {
    if (current === undefined) verifyFirst(fleetId, root)
    else verifyNext(current, root)
    current = root
  }
  if (current === undefined) throw refused('there is none')
  return current
}

/** Every signature must be good and of a key that counts: then nobody can make a second form of a root, nor fill it up. */
function verifySignatures(roots: readonly FleetRoot[], signed: SignedRoot): void {
  const verifier = new SignatureVerifier({ capacity: 2 * maxKeys })
  for (const each of signed.signatures) {
    if (!roots.some((root) => root.keys.includes(each.key))) throw refused(`${each.key} signed it and is no root key`)
    if (!isSignatureOf(signed, each, verifier)) throw refused(`the signature of ${each.key} is not one of this root`)
  }
  for (const { version, keys: own, threshold } of roots) {
    const count = signed.signatures.filter(({ key }) => own.includes(key)).length
    if (count < threshold) throw refused(`${count} of the ${threshold} keys that version ${version} asks for signed it`)
  }
}

function isSignatureOf({ bytes }: SignedRoot, { key, signature }: RootSignature, verifier: SignatureVerifier): boolean {
  return verifier.verify(key, 'murmurate/root/1', bytes, signature)
}

function withSignature(draft: SignedRoot, added: RootSignature): SignedRoot {
  const others = draft.signatures.filter(({ key }) => key !== added.key)
  return { ...draft, signatures: [...others, added].toSorted((a, b) => (a.key < b.key ? -1 : 1)) }
}

/** The lists sorted: whoever drafts the same root gets the same bytes. */
function unsigned(content: FleetRoot): SignedRoot {
  const { keys: signers, operators, publishers, members, revoked } = content
  const lists = {
    keys: sorted(signers),
    operators: sorted(operators),
    publishers: sorted(publishers),
    members: sorted(members),
    revoked: sorted(revoked)
  }
  const root = check({ ...content, ...lists }, rootSchema, 'fleet root')
  return { root, bytes: encode(root), signatures: [] }
}

/** What is no list is for the schema to refuse. */
function sorted<List>(list: List): List | unknown[] {
  return Array.isArray(list) ? list.map(String).toSorted((a, b) => (a < b ? -1 : 1)) : list
}

function listedOf({ operators, publishers, members, revoked }: FleetRoot): number {
  return operators.length + publishers.length + revoked.length + (members === 'open' ? 0 : members.length)
}

function parsedId(value: string, context: z.core.$RefinementCtx): NodeId {
  try {
    return parseNodeId(value)
  } catch {
    context.addIssue('not a node id')
    return z.NEVER
  }
}

function isEd25519(id: NodeId): boolean {
  try {
    return publicKeyOf(id).byteLength > 0
  } catch {
    return false
  }
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('base64url')
}

function refused(why: string): MurmurateError {
  return new MurmurateError('ROOT_REFUSED', `A fleet root was refused: ${why}`)
}
