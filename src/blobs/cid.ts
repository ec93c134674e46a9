/**
 * Content identifiers: CIDv1, sha2-256, in base32. Two kinds: `raw` for a chunk of a file, `dag-cbor` for the small blocks
 * that describe files. The multihash code is part of the identifier, so that BLAKE3 can be added without a new format.
 */
import { hash } from 'node:crypto'
import { base32 } from 'multiformats/bases/base32'
import { CID } from 'multiformats/cid'
import { equalBytes } from '../core/codec.js'
import { MurmurateError, messageOf } from '../core/errors.js'
import { parseCid, type Cid } from '../core/ids.js'

/** Bytes of a sha2-256 digest. */
export const digestBytes = 32

/** Bytes of a binary identifier: version, codec, hash code, hash length, digest. */
export const cidBytes = 4 + digestBytes

/** Codecs of https://github.com/multiformats/multicodec/blob/master/table.csv that we use. */
export const codecs = Object.freeze({ raw: 0x55, 'dag-cbor': 0x71 })

/** What the bytes behind an identifier are. */
export type CodecName = keyof typeof codecs

const cidVersion = 0x01
const sha256Code = 0x12

/** The sha2-256 digest of some bytes. */
export function digestOf(bytes: Uint8Array): Uint8Array {
  return hash('sha256', bytes, 'buffer')
}

/** The identifier of a block, by default of a dag-cbor block. */
export function cidOf(block: Uint8Array, codec: CodecName = 'dag-cbor'): Cid {
  return cidOfDigest(digestOf(block), codec)
}

/** The identifier that stands for a sha2-256 digest. */
function cidOfDigest(digest: Uint8Array, codec: CodecName): Cid {
  const bytes = new Uint8Array(cidBytes)
  bytes.set([cidVersion, codecs[codec], sha256Code, digestBytes])
  bytes.set(digest, cidBytes - digestBytes)
  return parseCid(base32.encode(bytes))
}

/**
 * The 36 bytes of an identifier.
 *
 * @throws MurmurateError `MALFORMED` when it is of a version, codec or hash that we do not use
 */
export function cidToBytes(cid: Cid): Uint8Array {
  let bytes: Uint8Array
  try {
    bytes = base32.decode(cid)
  } catch (cause) {
    throw new MurmurateError('MALFORMED', `${cid} is not base32: ${messageOf(cause)}`, { cause })
  }
  checkForm(bytes)
  return bytes
}

/** @throws MurmurateError `MALFORMED` when it is of a version, codec or hash that we do not use */
export function cidFromBytes(bytes: Uint8Array): Cid {
  checkForm(bytes)
  return parseCid(base32.encode(bytes))
}

/** The 32-byte digest inside an identifier. */
export function digestIn(cid: Cid): Uint8Array {
  return cidToBytes(cid).subarray(cidBytes - digestBytes)
}

/** The codec of an identifier. */
export function codecOf(cid: Cid): CodecName {
  return cidToBytes(cid)[1] === codecs.raw ? 'raw' : 'dag-cbor'
}

/** Whether these bytes are what the identifier stands for. */
export function matches(cid: Cid, bytes: Uint8Array): boolean {
  return equalBytes(digestIn(cid), digestOf(bytes))
}

/** The identifier as a dag-cbor link (tag 42), for use inside a block. */
export function linkOf(cid: Cid): CID {
  return CID.decode(cidToBytes(cid))
}

/** The identifier behind a value decoded from dag-cbor; undefined when it is no link, or none to a dag-cbor block of ours. */
export function blockLink(value: unknown): Cid | undefined {
  const link = CID.asCID(value)
  if (link === null || link.bytes.byteLength !== cidBytes || !isOurs(link.bytes)) return undefined
  return link.code === codecs['dag-cbor'] ? cidFromBytes(link.bytes) : undefined
}

function isOurs(bytes: Uint8Array): boolean {
  const [version, codec, hashCode, length] = bytes
  const known = codec === codecs.raw || codec === codecs['dag-cbor']
  return version === cidVersion && known && hashCode === sha256Code && length === digestBytes
}

function checkForm(bytes: Uint8Array): void {
  if (bytes.byteLength === cidBytes && isOurs(bytes)) return
  throw new MurmurateError('MALFORMED', 'Not a CIDv1 of a raw or dag-cbor block with a sha2-256 digest')
}
