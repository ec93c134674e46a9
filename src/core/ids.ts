import { valid } from 'semver'
import { MurmurateError } from './errors.js'

declare const brand: unique symbol
/** A string that was checked to be what its name says. */
export type Branded<T, Name extends string> = T & { readonly [brand]: Name }

/** A node's libp2p peer id, `12D3KooW...`: its Ed25519 public key in base58. */
export type NodeId = Branded<string, 'NodeId'>
/** A model's name, `target_recognition`. */
export type ModelId = Branded<string, 'ModelId'>
/** A semantic version, `4.2.1`. */
export type Version = Branded<string, 'Version'>
/** A variant's name within a release, `fp16-cuda`. */
export type VariantId = Branded<string, 'VariantId'>
/** A rollout's id, a version 4 UUID. */
export type RolloutId = Branded<string, 'RolloutId'>
/** A page of the shared document, `status/target_recognition/17`. */
export type PageId = Branded<string, 'PageId'>
/** A content identifier, CIDv1 in base32. */
export type Cid = Branded<string, 'Cid'>

const nodeIdPattern = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/
const namePattern = /^(?=.{1,64}$)[a-z0-9](?:[a-z0-9_-]|\.(?=[a-z0-9_-]))*$/
const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const versionPattern = /^[0-9A-Za-z.+-]{1,64}$/
/** What nearly every version looks like: needs no further look, of which a document of 60 000 statuses would need half a million. */
const plainVersionPattern = /^(?:0|[1-9]\d{0,8})\.(?:0|[1-9]\d{0,8})\.(?:0|[1-9]\d{0,8})$/
const pagePattern = /^[a-z]{1,32}(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9_.+-]{1,64}){1,3}$/
const cidPattern = /^b[a-z2-7]{58}$/
/** Names that some file systems keep for devices, whatever the extension. */
const reservedName = /^(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)/

function refuse(kind: string, value: unknown, form: string): MurmurateError {
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : typeof value
  return new MurmurateError('INVALID_REQUEST', `${shown} is not a ${kind}: ${form}`)
}

function parseName(kind: string, value: unknown): string {
  if (typeof value === 'string' && namePattern.test(value) && !reservedName.test(value)) return value
  throw refuse(
    kind,
    value,
    '1 to 64 of a-z 0-9 _ - and single dots, beginning with a letter or digit, and no reserved name'
  )
}

/** @throws MurmurateError `INVALID_REQUEST` */
export function parseNodeId(value: unknown): NodeId {
  if (typeof value === 'string' && nodeIdPattern.test(value)) return value as NodeId
  throw refuse('node id', value, 'it begins with 12D3KooW and has 52 characters')
}

/** @throws MurmurateError `INVALID_REQUEST` */
export function parseModelId(value: unknown): ModelId {
  return parseName('model id', value) as ModelId
}

/** @throws MurmurateError `INVALID_REQUEST` */
export function parseVariantId(value: unknown): VariantId {
  return parseName('variant id', value) as VariantId
}

/** @throws MurmurateError `INVALID_REQUEST` */
export function parseVersion(value: unknown): Version {
  if (typeof value === 'string' && plainVersionPattern.test(value)) return value as Version
  if (
    typeof value === 'string' &&
    versionPattern.test(value) &&
    valid(value)?.replace(/\+.*/, '') === value.replace(/\+.*/, '')
  ) {
    return value as Version
  }
  throw refuse('version', value, 'a semantic version such as 4.2.1 or 2.0.0-rc.1, without a leading "v"')
}

/** @throws MurmurateError `INVALID_REQUEST` */
export function parseRolloutId(value: unknown): RolloutId {
  if (typeof value === 'string' && uuidPattern.test(value)) return value as RolloutId
  throw refuse('rollout id', value, 'a version 4 UUID in lower case')
}

/** @throws MurmurateError `INVALID_REQUEST` */
export function parsePageId(value: unknown): PageId {
  if (typeof value === 'string' && pagePattern.test(value)) return value as PageId
  throw refuse('page id', value, 'a kind and 1 to 3 segments of A-Z a-z 0-9 _ . + -, separated by "/"')
}

/** @throws MurmurateError `INVALID_REQUEST` */
export function parseCid(value: unknown): Cid {
  if (typeof value === 'string' && cidPattern.test(value)) return value as Cid
  throw refuse('content identifier', value, 'a CIDv1 with a sha2-256 digest, in base32')
}

/** A version 4 UUID made from 16 random bytes. */
export function rolloutIdFrom(bytes: Uint8Array): RolloutId {
  const copy = Buffer.from(bytes.subarray(0, 16))
  copy[6] = ((copy[6] ?? 0) & 0x0f) | 0x40
  copy[8] = ((copy[8] ?? 0) & 0x3f) | 0x80
  const hex = copy.toString('hex')
  const groups = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)]
  return groups.join('-') as RolloutId
}

/** The first characters that tell nodes apart: the common prefix of Ed25519 peer ids is left out. */
export function shortId(nodeId: NodeId): string {
  return nodeId.slice(8, 16)
}
