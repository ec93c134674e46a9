import { decode, equalBytes } from '../core/codec.js'
import { messageOf, MurmurateError } from '../core/errors.js'
import { parseNodeId, type NodeId } from '../core/ids.js'
import type { Declined } from './declined.js'
import { clientIdOf, maxEntryBytes, openEntry, type Entry, type SealedEntry } from './entry.js'
import type { Evidence } from './evidence.js'
import { hashOf, supersedes, type Page, type StoredEntry } from './page.js'
import type { PageKind, Policy } from './policy.js'
import { parseUpdate, type Chain } from './yjs-update.js'

/** Whom an update is for, and by what it is judged. */
export interface AdmissionRules {
  readonly page: Page
  readonly kind: PageKind
  readonly policy: Policy
  /** Whether a second value of this writer for one clock is already proved. */
  readonly isProved: (writer: NodeId) => boolean
  /** The key that a node id is made of. @throws MurmurateError `MALFORMED` */
  readonly publicKeyOf: (writer: NodeId) => Uint8Array
}

/** An entry in which everything is right but for its signature and its body, which nobody has looked at. */
export interface Candidate {
  readonly stored: StoredEntry
  readonly sealed: SealedEntry
  /** This node has verified it before. */
  readonly isVerified: boolean
}

/** An update of one page. */
interface OneUpdate {
  readonly update: Uint8Array
  readonly isVerified?: boolean
}

/** What of some updates may go on. */
export interface Examination {
  readonly candidates: readonly Candidate[]
  /** Why parts were refused; each is the fault of whoever sent the update. */
  readonly refusals: readonly string[]
  /** Why parts that their writers did sign were left out: perhaps a newer version wrote them, so nobody is to blame. */
  readonly declined: readonly Declined[]
  /** A chain of a writer not met before started above clock 0, so its key is not in it: ask for the whole. */
  readonly gap: boolean
}

/** An entry that may enter its page. */
export interface Admitted {
  readonly stored: StoredEntry
  readonly entry: Entry
  /** It was verified before: it is on the disk already. */
  readonly isVerified: boolean
}

/** What became of candidates. */
export interface Settlement extends Pick<Examination, 'refusals' | 'declined'> {
  readonly admitted: readonly Admitted[]
  readonly evidence: readonly Evidence[]
}

/**
 * First half of admission, all that is cheap: parses updates of one page before Yjs sees them and picks what is news. A bad
 * chain is dropped alone. The page is not changed.
 *
 * A chain may skip clocks of a writer already met: its value is whole, the signature binds the clock, and the page fills
 * the clocks between with overwritten values. So nothing ever waits inside Yjs for what was lost.
 */
export function examine(rules: AdmissionRules, updates: readonly OneUpdate[]): Examination {
  const candidates: Candidate[] = []
  const refusals: string[] = []
  const declined: Declined[] = []
  let gap = false
  // Writers that earlier chains have named.
  const named = new Map<number, NodeId>()
  for (const { chain, isVerified } of updates.flatMap((update) => chainsOf(update, refusals))) {
    const present = rules.page.get(chain.client)
    if (isOld(chain, present)) continue
    const known = present?.writer ?? named.get(chain.client)
    if (known === undefined && chain.start > 0) {
      gap = true
      continue
    }
    try {
      const outcome = checkChain(rules, chain, known)
      if (outcome === undefined) continue
      named.set(chain.client, outcome.stored.writer)
      if ('reason' in outcome) declined.push(declinedEntry(rules.page, outcome.stored, outcome.reason))
      else candidates.push({ ...outcome, isVerified })
    } catch (error) {
      refusals.push(`${rules.page.id}: ${messageOf(error)}`)
    }
  }
  return { candidates, refusals, declined, gap }
}

function chainsOf(
  { update, isVerified = false }: OneUpdate,
  refusals: string[]
): { chain: Chain; isVerified: boolean }[] {
  try {
    return parseUpdate(update).map((chain) => ({ chain, isVerified }))
  } catch (error) {
    refusals.push(messageOf(error))
    return []
  }
}

/** Whether the chain says nothing new; what arrives most often is told apart without any cryptography. */
function isOld(chain: Chain, present: StoredEntry | undefined): boolean {
  if (present === undefined || chain.seq > present.seq) return false
  return chain.seq < present.seq || equalBytes(chain.value, present.value)
}

/**
 * Undefined when the chain changes nothing and proves nothing, and a reason when the writer lacks the right: that is not the
 * sender's fault, who may know a newer fleet root.
 *
 * @throws an error that says why it may not enter
 */
function checkChain(
  rules: AdmissionRules,
  chain: Chain,
  known: NodeId | undefined
): Omit<Candidate, 'isVerified'> | { readonly stored: StoredEntry; readonly reason: string } | undefined {
  const { page, kind, policy } = rules
  const writer = chain.start > 0 && known !== undefined ? known : parseNodeId(chain.key)
  const present = page.get(chain.client)
  // Whose client id it is was seen when the present entry came.
  if (present?.writer !== writer && clientIdOf(page.id, writer, rules.publicKeyOf(writer)) !== chain.client)
    throw refused(`the client id is not that of ${writer}`)
  const stored = { client: chain.client, writer, seq: chain.seq, value: chain.value }
  if (!policy.permits(kind, writer)) return { stored, reason: lacksRight(writer) }
  if (kind.immutable === true && chain.seq > 0) throw refused(`${writer} may not change what it wrote`)
  const sealed = openEntry(chain.value)
  // Of two values for one clock the lower one changes nothing, but both together are evidence, once.
  if (present !== undefined && rules.isProved(writer) && !supersedes(stored, present)) return undefined
  return { stored, sealed }
}

/**
 * Second half of admission, when it is known of each candidate whether its signature is right. Looks at the page as it is now: others may have
 * written, or lost their rights, since the first half.
 */
export function settle(
  rules: AdmissionRules,
  candidates: readonly Candidate[],
  isSigned: readonly boolean[]
): Settlement {
  const { page, kind, policy } = rules
  const admitted = new Map<number, Admitted>()
  const refusals: string[] = []
  const declined: Declined[] = []
  const evidence: Evidence[] = []
  for (const [at, { stored, sealed, isVerified }] of candidates.entries()) {
    const { client, writer, seq } = stored
    const present = admitted.get(client)?.stored ?? page.get(client)
    if (isSigned[at] !== true) {
      refusals.push(`${page.id}: the signature is not that of ${writer}`)
      continue
    }
    if (present?.seq === seq && !equalBytes(present.value, stored.value)) {
      evidence.push({ page: page.id, writer, seq, values: [present.value, stored.value.slice()] })
    }
    if (present !== undefined && !supersedes(stored, present)) continue
    const entry = policy.permits(kind, writer) ? readBody(rules, stored, sealed) : lacksRight(writer)
    if (typeof entry === 'string') declined.push(declinedEntry(page, stored, entry))
    else admitted.set(client, { stored, entry, isVerified })
  }
  return { admitted: withOwnValues([...admitted.values()]), refusals, declined, evidence }
}

/**
 * Views of the message would keep it all in memory; one buffer for the values that came together takes 90 bytes an entry less than
 * one for each. It lives as long as one of them, so an entry keeps at most a message, 256 KiB.
 */
function withOwnValues(admitted: readonly Admitted[]): Admitted[] {
  const buffer = new Uint8Array(admitted.reduce((sum, { stored }) => sum + stored.value.byteLength, 0))
  let at = 0
  return admitted.map(({ stored, entry, isVerified }) => {
    const { client, writer, seq, value } = stored
    buffer.set(value, at)
    const own = buffer.subarray(at, (at += value.byteLength))
    return { stored: { client, writer, seq, value: own }, entry, isVerified }
  })
}

/** The entry with its body, or why this node does not take it. */
function readBody({ page, kind }: AdmissionRules, stored: StoredEntry, sealed: SealedEntry): Entry | string {
  try {
    const entry = decodeEntry({ page, kind }, stored, sealed)
    return kind.mayWrite(page.id, stored.writer, entry.body) ? entry : `${stored.writer} may not write this`
  } catch (error) {
    return messageOf(error)
  }
}

/** An entry of a page with its body decoded. */
export function decodeEntry(
  { page, kind }: Pick<AdmissionRules, 'page' | 'kind'>,
  { writer, seq, value }: StoredEntry,
  { epoch, issuedAt, body: bytes }: SealedEntry = openEntry(value)
): Entry {
  const body = decode(bytes, kind.schema, { maxBytes: maxEntryBytes, what: `The body of ${writer}` })
  return { page: page.id, writer, epoch, seq, issuedAt, body }
}

function declinedEntry({ id: page }: Page, { client, writer, seq, value }: StoredEntry, reason: string): Declined {
  return { page, client, writer, seq, valueHash: hashOf(value), reason }
}

function lacksRight(writer: NodeId): string {
  return `the fleet root does not let ${writer} write this`
}

function refused(why: string): MurmurateError {
  return new MurmurateError('MALFORMED', why)
}
