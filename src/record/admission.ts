import { createHash } from 'node:crypto'
import { decode, equalBytes } from '../core/codec.js'
import { messageOf, MurmurateError } from '../core/errors.js'
import { parseNodeId, type NodeId, type PageId } from '../core/ids.js'
import type { SignatureVerifier } from '../identity/signature.js'
import { clientIdOf, maxEntryBytes, openEntry, verifyEntry, type Entry } from './entry.js'
import { supersedes, type Page, type StoredEntry } from './page.js'
import type { PageKind } from './policy.js'
import { parseUpdate, type Chain } from './yjs-update.js'

/** What became of an update. */
export interface AdmissionResult {
  /** New, verified entries, in the order they came. */
  readonly admitted: readonly StoredEntry[]
  /** Why parts were refused; each is the fault of whoever sent the update. */
  readonly refusals: readonly string[]
  /** A chain of a writer not met before started above clock 0, so its key is not in it: ask for the whole. */
  readonly gap: boolean
}

/**
 * Decides what of an update may enter a page. Nothing reaches Yjs before this has said yes; a bad chain is dropped
 * alone. The page is not changed.
 *
 * A chain may skip clocks of a writer already met: its value is whole, the signature binds the clock, and the page fills
 * the clocks between with overwritten values. So nothing ever waits inside Yjs for what was lost.
 */
export function admit(page: Page, kind: PageKind, update: Uint8Array, verifier: SignatureVerifier): AdmissionResult {
  const admitted = new Map<number, StoredEntry>()
  const refusals: string[] = []
  let gap = false
  for (const chain of chainsOf(update, refusals)) {
    const present = admitted.get(chain.client) ?? page.get(chain.client)
    if (isOld(chain, present)) continue
    if (present === undefined && chain.start > 0) {
      gap = true
      continue
    }
    try {
      const stored = admitChain({ page: page.id, kind, verifier }, chain, present)
      if (stored !== undefined) admitted.set(chain.client, stored)
    } catch (error) {
      refusals.push(`${page.id}: ${messageOf(error)}`)
    }
  }
  return { admitted: [...admitted.values()], refusals, gap }
}

function chainsOf(update: Uint8Array, refusals: string[]): Chain[] {
  try {
    return parseUpdate(update)
  } catch (error) {
    refusals.push(messageOf(error))
    return []
  }
}

/** Whether the chain says nothing new; what arrives most often is told apart without any cryptography. */
function isOld(chain: Chain, present: StoredEntry | undefined): boolean {
  if (present === undefined || chain.seq > present.entry.seq) return false
  return chain.seq < present.entry.seq || equalBytes(chain.value, present.value)
}

interface Rules {
  readonly page: PageId
  readonly kind: PageKind
  readonly verifier: SignatureVerifier
}

/**
 * The entry to store; undefined when the present one stays.
 *
 * @throws an error that says why it may not enter
 */
function admitChain(rules: Rules, chain: Chain, present: StoredEntry | undefined): StoredEntry | undefined {
  const { page, kind, verifier } = rules
  const writer: NodeId = chain.start > 0 && present !== undefined ? present.entry.writer : parseNodeId(chain.key)
  if (clientIdOf(page, writer) !== chain.client) throw refused(`the client id is not that of ${writer}`)
  if (kind.immutable === true && chain.seq > 0) throw refused(`${writer} may not change what it wrote`)
  const position = { page, writer, seq: chain.seq }
  const sealed = openEntry(chain.value)
  const { epoch, issuedAt } = sealed
  const unread = storedEntry({ ...position, epoch, issuedAt, body: undefined }, chain.client, chain.value.slice())
  if (present !== undefined && !supersedes(unread, present)) return undefined
  if (!verifyEntry(verifier, position, sealed)) throw refused(`the signature is not that of ${writer}`)
  const body = decode(sealed.body, kind.schema, { maxBytes: maxEntryBytes, what: `The body of ${writer}` })
  if (!kind.mayWrite(page, writer, body)) throw refused(`${writer} may not write this`)
  return { ...unread, entry: { ...unread.entry, body } }
}

function refused(why: string): MurmurateError {
  return new MurmurateError('MALFORMED', why)
}

/** Adds the hash by which digests compare values. */
export function storedEntry(entry: Entry, client: number, value: Uint8Array): StoredEntry {
  return { entry, client, value, valueHash: new Uint8Array(createHash('sha256').update(value).digest()) }
}
