import { base58btc } from 'multiformats/bases/base58'
import { MurmurateError } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'

/**
 * A libp2p peer id of an Ed25519 key is the identity multihash (0x00, length 36) of the key's protobuf
 * (field 1 = type 1, field 2 = 32 bytes), in base58. https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
 */
const prefix = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20)
const publicKeyBytes = 32

/** The node id of a 32-byte Ed25519 public key. */
export function nodeIdOf(publicKey: Uint8Array): NodeId {
  const bytes = new Uint8Array(prefix.byteLength + publicKeyBytes)
  bytes.set(prefix)
  bytes.set(publicKey, prefix.byteLength)
  return base58btc.baseEncode(bytes) as NodeId
}

function decodeBase58(text: string): Uint8Array {
  try {
    return base58btc.baseDecode(text)
  } catch (cause) {
    throw new MurmurateError('MALFORMED', `${text} is not base58`, { cause })
  }
}

/**
 * The 32-byte Ed25519 public key that a node id is made of.
 *
 * @throws MurmurateError `MALFORMED` when the id is of another kind of key
 */
export function publicKeyOf(nodeId: NodeId): Uint8Array {
  const bytes = decodeBase58(nodeId)
  const isEd25519 =
    bytes.byteLength === prefix.byteLength + publicKeyBytes && prefix.every((byte, at) => bytes[at] === byte)
  if (!isEd25519) throw new MurmurateError('MALFORMED', `${nodeId} is not the id of an Ed25519 key`)
  return bytes.subarray(prefix.byteLength)
}
