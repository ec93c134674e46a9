import { createHash } from 'node:crypto'
import { decode } from '../core/codec.js'
import { errorCode, messageOf } from '../core/errors.js'
import { parseNodeId, type NodeId } from '../core/ids.js'
import type { SignatureVerifier } from '../identity/signature.js'
import { clientIdOf, maxEntryBytes, openEntry, verifyEntry } from './entry.js'
import type { Page, StoredEntry } from './page.js'
import type { PageKind } from './policy.js'
import { parseUpdate, type Chain } from './yjs-update.js'

/** What became of an update. */
export interface AdmissionResult {
  /** New, verified entries, in the order they came. */
  readonly admitted: readonly StoredEntry[]
  /** Why parts were refused; each is the fault of whoever sent the update. */
  readonly refusals: readonly string[]
  /** A chain started after what we have: something is missing, ask for it. */
  readonly gap: boolean
}

/**
 * Decides what of an update may enter a page. Nothing reaches Yjs before this has said yes; a bad chain is dropped
 * alone. The page is not changed.
 */
export function admit(page: Page, kind: PageKind, update: Uint8Array, verifier: SignatureVerifier): AdmissionResult {
  const admitted = new Map<number, StoredEntry>()
  const refusals: string[] = []
  let gap = false
  let chains: Chain[]
  try {
    chains = parseUpdate(update)
  } catch (error) {
    return { admitted: [], refusals: [messageOf(error)], gap: false }
  }
  for (const chain of chains) {
    const known = page.known(chain.client)
    if (chain.seq < known || admitted.has(chain.client)) continue
    if (chain.start > known) {
      gap = true
      continue
    }
    const outcome = admitChain(page, kind, chain, verifier)
    if (typeof outcome === 'string') refusals.push(outcome)
    else admitted.set(chain.client, outcome)
  }
  return { admitted: [...admitted.values()], refusals, gap }
}

/** The stored entry, or why it may not enter. */
function admitChain(page: Page, kind: PageKind, chain: Chain, verifier: SignatureVerifier): StoredEntry | string {
  try {
    const writer = writerOf(page, chain)
    if (clientIdOf(page.id, writer) !== chain.client) return `${page.id}: the client id is not that of ${writer}`
    const position = { page: page.id, writer, seq: chain.seq }
    const sealed = openEntry(chain.value)
    const body = decode(sealed.body, kind.schema, {
      maxBytes: maxEntryBytes,
      what: `The body of ${writer} on ${page.id}`
    })
    if (!kind.mayWrite(page.id, writer, body)) return `${page.id}: ${writer} may not write this`
    if (!verifyEntry(verifier, position, sealed)) return `${page.id}: the signature is not that of ${writer}`
    const entry = { ...position, epoch: sealed.epoch, issuedAt: sealed.issuedAt, body }
    return storedEntry(entry, chain.client, chain.value.slice())
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return messageOf(error)
  }
}

/** The key stands in the first value of a chain; later ones belong to the writer already known by its client id. */
function writerOf(page: Page, chain: Chain): NodeId {
  return chain.start === 0 ? parseNodeId(chain.key) : parseNodeId(page.get(chain.client)?.entry.writer)
}

/** Adds the hash by which digests compare values. */
export function storedEntry(entry: StoredEntry['entry'], client: number, value: Uint8Array): StoredEntry {
  return { entry, client, value, valueHash: new Uint8Array(createHash('sha256').update(value).digest()) }
}
