import { decode, encode } from '../core/codec.js'
import { messageOf, MurmurateError } from '../core/errors.js'
import type { NodeId, PageId } from '../core/ids.js'
import { maxEntryBytes } from './entry.js'
import type { PageKind, Policy } from './policy.js'

/** A value that this node wants to have on a page, checked. */
export interface Value {
  readonly kind: PageKind
  readonly page: PageId
  /** Canonical DAG-CBOR. */
  readonly bytes: Uint8Array
  /** As the kind's schema decodes the bytes. */
  readonly body: unknown
}

/** What an entry has besides its body: page, writer, counters and signature are below this, bytes. */
const sealBytes = 256
/** What a caller wants to write. */
interface Wish {
  readonly kind: Pick<PageKind, 'name'>
  readonly page: PageId
  readonly body: unknown
}

/**
 * A value in the form that others will see.
 *
 * @throws MurmurateError `INVALID_REQUEST` or `NOT_PERMITTED` when they would refuse it
 */
export function checkedValue({ kind, page, body }: Wish, writer: NodeId, policy: Policy): Value {
  const registered = policy.kindOf(page)
  if (registered?.name !== kind.name) throw invalid(`${page} is not a page of the kind ${kind.name}`)
  const bytes = encodeBody(page, body)
  if (bytes.byteLength > maxEntryBytes - sealBytes) {
    throw invalid(`The body for ${page} has ${bytes.byteLength} bytes, the limit is ${maxEntryBytes - sealBytes}`)
  }
  policy.assertPermits(registered, page, writer)
  const decoded = decodeBody(page, bytes, registered)
  if (!registered.mayWrite(page, writer, decoded)) {
    throw invalid(`This node may not write this on ${page}`)
  }
  return { kind: registered, page, bytes, body: decoded }
}

function invalid(message: string): MurmurateError {
  return new MurmurateError('INVALID_REQUEST', message)
}

function encodeBody(page: PageId, body: unknown): Uint8Array {
  try {
    return encode(body)
  } catch (cause) {
    throw new MurmurateError('INVALID_REQUEST', `The body for ${page} cannot be encoded: ${messageOf(cause)}`, {
      cause
    })
  }
}

function decodeBody(page: PageId, bytes: Uint8Array, kind: PageKind): unknown {
  try {
    return decode(bytes, kind.schema, { maxBytes: maxEntryBytes, what: `The body for ${page}` })
  } catch (cause) {
    throw new MurmurateError('INVALID_REQUEST', messageOf(cause), { cause })
  }
}
