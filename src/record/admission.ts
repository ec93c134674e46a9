import { createHash } from 'node:crypto'
import { decode, equalBytes } from '../core/codec.js'
import { messageOf, MurmurateError } from '../core/errors.js'
import { parseNodeId, type NodeId, type PageId } from '../core/ids.js'
import type { SignatureVerifier } from '../identity/signature.js'
import type { Declined } from './declined.js'
import { clientIdOf, maxEntryBytes, openEntry, verifyEntry, type Entry } from './entry.js'
import { supersedes, type Page, type StoredEntry } from './page.js'
import type { PageKind, Policy } from './policy.js'
import { parseUpdate, type Chain } from './yjs-update.js'

/** By what an update is judged. */
export interface AdmissionChecks {
  readonly policy: Policy
  readonly verifier: SignatureVerifier
}

/** What became of an update. */
export interface AdmissionResult {
  /** New, verified entries, in the order they came. */
  readonly admitted: readonly StoredEntry[]
  /** Why parts were refused; each is the fault of whoever sent the update. */
  readonly refusals: readonly string[]
  /** Why parts that their writers did sign were left out: perhaps a newer version wrote them, so nobody is to blame. */
  readonly declined: readonly Declined[]
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
export function admit(page: Page, kind: PageKind, update: Uint8Array, checks: AdmissionChecks): AdmissionResult {
  const admitted = new Map<number, StoredEntry>()
  const refusals: string[] = []
  const declined: Declined[] = []
  let gap = false
  for (const chain of chainsOf(update, refusals)) {
    const present = admitted.get(chain.client) ?? page.get(chain.client)
    if (isOld(chain, present)) continue
    if (present === undefined && chain.start > 0) {
      gap = true
      continue
    }
    try {
      const signed = checkChain({ page: page.id, kind, ...checks }, chain, present)
      if (signed === undefined) continue
      const outcome = typeof signed === 'string' ? signed : readBody(kind, signed)
      if (typeof outcome === 'string') declined.push(declinedChain(page, chain, outcome))
      else admitted.set(chain.client, outcome)
    } catch (error) {
      refusals.push(`${page.id}: ${messageOf(error)}`)
    }
  }
  return { admitted: [...admitted.values()], refusals, declined, gap }
}

/** A chain whose client id is that of its writer. */
function declinedChain(page: Page, { client, seq, value, key }: Chain, reason: string): Declined {
  const writer = page.get(client)?.entry.writer ?? parseNodeId(key)
  return { page: page.id, client, writer, seq, valueHash: hashOf(value), reason }
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

interface Rules extends AdmissionChecks {
  readonly page: PageId
  readonly kind: PageKind
}

/** An entry whose writer is proved; its body is still bytes. */
interface SignedEntry {
  readonly stored: StoredEntry
  readonly body: Uint8Array
}

/**
 * Checks everything but the body; undefined when the present entry stays, and a reason when the writer lacks the right: that
 * is not the sender's fault, who may know a newer fleet root.
 *
 * @throws an error that says why it may not enter
 */
function checkChain(rules: Rules, chain: Chain, present: StoredEntry | undefined): SignedEntry | string | undefined {
  const { page, kind, policy, verifier } = rules
  const writer: NodeId = chain.start > 0 && present !== undefined ? present.entry.writer : parseNodeId(chain.key)
  if (clientIdOf(page, writer) !== chain.client) throw refused(`the client id is not that of ${writer}`)
  if (!policy.permits(kind, writer)) return `the fleet root does not let ${writer} write this`
  if (kind.immutable === true && chain.seq > 0) throw refused(`${writer} may not change what it wrote`)
  const position = { page, writer, seq: chain.seq }
  const sealed = openEntry(chain.value)
  const { epoch, issuedAt } = sealed
  const stored = storedEntry({ ...position, epoch, issuedAt, body: undefined }, chain.client, chain.value.slice())
  if (present !== undefined && !supersedes(stored, present)) return undefined
  if (!verifyEntry(verifier, position, sealed)) throw refused(`the signature is not that of ${writer}`)
  return { stored, body: sealed.body }
}

/** The entry with its body, or why this node does not take it. */
function readBody(kind: PageKind, { stored, body: bytes }: SignedEntry): StoredEntry | string {
  const { page, writer } = stored.entry
  try {
    const body = decode(bytes, kind.schema, { maxBytes: maxEntryBytes, what: `The body of ${writer}` })
    if (kind.mayWrite(page, writer, body)) return { ...stored, entry: { ...stored.entry, body } }
    return `${writer} may not write this`
  } catch (error) {
    return messageOf(error)
  }
}

function refused(why: string): MurmurateError {
  return new MurmurateError('MALFORMED', why)
}

/** Adds the hash by which digests compare values. */
export function storedEntry(entry: Entry, client: number, value: Uint8Array): StoredEntry {
  return { entry, client, value, valueHash: hashOf(value) }
}

function hashOf(value: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(value).digest())
}
