import { createHash } from 'node:crypto'
import type { NodeId, PageId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import type { SignatureVerifier, SignedClaim } from '../identity/signature.js'
import type { Unsubscribe } from '../net/network.js'
import { decodeEntry, examine, settle, type AdmissionRules, type Candidate, type Examination } from './admission.js'
import { updatesOf } from './chains.js'
import type { Declined } from './declined.js'
import { claimOf, clientIdOf, type Entry } from './entry.js'
import type { LogRecord } from './entry-log.js'
import { EvidenceBook, type Evidence, type EvidenceListener } from './evidence.js'
import { Page, type StateVector, type StoredEntry } from './page.js'
import type { PageKind, Policy } from './policy.js'
import { PageQuota, type Place } from './quota.js'
import type { PageUpdate } from './wire.js'
import { writeUpdate, type Chain } from './yjs-update.js'

/** What became of a batch of updates. */
export interface IngestResult {
  /** What was new, as it can be kept and passed on. */
  readonly updates: readonly PageUpdate[]
  readonly entries: readonly Entry[]
  /** What left the document because its writer has lower pages of the kind, as many as it may. */
  readonly removed: readonly Entry[]
  /** What whoever sent them is to blame for. */
  readonly refusals: readonly string[]
  /** What was left out although its writer signed it. */
  readonly declined: readonly Declined[]
  readonly gap: boolean
}

/** What may go on of the updates of one page. */
interface ExaminedPage extends Examination {
  readonly id: PageId
  readonly kind: PageKind
}

/** An `IngestResult` that grows page by page. */
class Outcome implements IngestResult {
  readonly updates: PageUpdate[] = []
  entries: Entry[] = []
  readonly removed: Entry[] = []
  readonly refusals: string[] = []
  readonly declined: Declined[] = []
  gap = false
}

/** The pages of a node in memory. No I/O: what goes in was already received, what comes out is for others to send or keep. */
export class PageStore {
  readonly #policy: Policy
  readonly #verifier: SignatureVerifier
  readonly #logger: Logger
  readonly #pages = new Map<PageId, Page>()
  /** Whose entries were admitted: as many as have written. */
  readonly #writers = new Map<NodeId, NodeId>()
  /** On how many of them each writer has entries. */
  readonly quota = new PageQuota(this.#pages)
  /** How often anything left the document. */
  #removals = 0
  readonly #evidence: EvidenceBook

  constructor(policy: Policy, verifier: SignatureVerifier, logger: Logger) {
    this.#policy = policy
    this.#verifier = verifier
    this.#logger = logger
    this.#evidence = new EvidenceBook(logger)
  }

  /** All pages that hold an entry. */
  pages(): IterableIterator<Page> {
    return this.#pages.values()
  }

  /** A page, if it holds an entry. */
  page(id: PageId): Page | undefined {
    return this.#pages.get(id)
  }

  /** Whether this node would take entries of such a page: a newer version may have kinds that this one lacks. */
  knows(id: PageId): boolean {
    return this.#policy.kindOf(id) !== undefined
  }

  /** Takes what admission lets in, at once: for a few entries. */
  ingest(updates: readonly PageUpdate[]): IngestResult {
    const [outcome, removals] = [new Outcome(), this.#removals]
    for (const page of this.#examine(updates)) {
      this.#settle(
        page,
        page.candidates.map((candidate) => this.#isSigned(claimFor(page.id, candidate))),
        outcome
      )
    }
    return this.#finished(outcome, removals)
  }

  /**
   * Takes what admission lets in, and verifies on all cores, one page while the next is looked at: for many entries. What comes
   * in meanwhile is kept.
   *
   * @throws the reason of the signal when it is aborted; pages that were finished before are kept
   */
  async ingestBatch(updates: readonly LogRecord[], signal?: AbortSignal): Promise<IngestResult> {
    const begun = Array.from(this.#examine(updates), (page) => ({ page, verdicts: this.#verifyAll(page, signal) }))
    const [outcome, removals] = [new Outcome(), this.#removals]
    for (const { page, verdicts } of begun) this.#settle(page, await verdicts, outcome)
    return this.#finished(outcome, removals)
  }

  #isSigned({ signer, domain, message, signature }: SignedClaim): boolean {
    return this.#verifier.verify(signer, domain, message, signature)
  }

  /** Whether each candidate's signature is right; what this node has verified before is not verified again. */
  #verifyAll({ id, candidates }: ExaminedPage, signal: AbortSignal | undefined): Promise<boolean[]> {
    const open = candidates.filter(({ isVerified }) => !isVerified)
    const verifying = this.#verifier
      .verifyAll(
        open.map((candidate) => claimFor(id, candidate)),
        signal
      )
      .then((verdicts) => {
        const fresh = verdicts.values()
        return candidates.map(({ isVerified }) => isVerified || fresh.next().value === true)
      })
    // An earlier page may fail before anybody waits for this one.
    verifying.catch(() => {})
    return verifying
  }

  /** First half of admission, page by page. */
  *#examine(updates: readonly LogRecord[]): Generator<ExaminedPage> {
    const byPage = new Map<PageId, LogRecord[]>()
    for (const update of updates) {
      const group = byPage.get(update.page)
      if (group === undefined) byPage.set(update.page, [update])
      else group.push(update)
    }
    for (const [id, group] of byPage) {
      const kind = this.#policy.kindOf(id)
      if (kind !== undefined) yield { id, kind, ...examine(this.#rulesOf(id, kind), group) }
      // Not the sender's fault: a newer version may have kinds of pages that this one lacks.
      else this.#logger.debug(`${id} is not a page that this node knows`)
    }
  }

  #rulesOf(id: PageId, kind: PageKind): AdmissionRules {
    const page = this.#pages.get(id) ?? new Page(id)
    return {
      page,
      kind,
      policy: this.#policy,
      isProved: (writer) => this.#evidence.isSettled(id, writer),
      publicKeyOf: (writer) => this.#verifier.publicKeyOf(writer)
    }
  }

  /** Second half of admission, with what is known of signatures. */
  #settle({ id, kind, candidates, ...examined }: ExaminedPage, isSigned: readonly boolean[], outcome: Outcome): void {
    const settled = settle(this.#rulesOf(id, kind), candidates, isSigned)
    outcome.gap ||= examined.gap
    outcome.refusals.push(...examined.refusals, ...settled.refusals)
    outcome.declined.push(...examined.declined, ...settled.declined)
    for (const evidence of settled.evidence) this.#evidence.add(evidence)
    const { admitted, surplus, gone } = this.quota.sift(kind, id, settled.admitted)
    outcome.declined.push(...surplus)
    for (const place of gone) outcome.removed.push(...this.#evict(kind, place))
    const stored = admitted.map((one) => one.stored)
    // Made before the page changes: an update says what others lack. What was verified before is on the disk already.
    if (admitted.some(({ isVerified }) => !isVerified)) {
      outcome.updates.push({ page: id, update: this.#updateOf(id, stored) })
    }
    this.#put(id, stored)
    for (const { entry } of admitted) outcome.entries.push(entry)
  }

  #evict(kind: PageKind, { page: id, client }: Place): Entry[] {
    const page = this.#pages.get(id)
    const stored = page?.get(client)
    return page && stored ? this.#remove(page, kind, [stored]) : []
  }

  #remove(page: Page, kind: PageKind, gone: readonly StoredEntry[]): Entry[] {
    page.remove(gone)
    this.#removals += gone.length
    if (page.isEmpty) this.#pages.delete(page.id)
    return gone.map((stored) => decodeEntry({ page, kind }, stored))
  }

  #finished(outcome: Outcome, removalsBefore: number): IngestResult {
    // What came may have left already, for a lower page or by another fleet root while signatures were verified.
    if (removalsBefore !== this.#removals) outcome.entries = outcome.entries.filter((entry) => this.#holds(entry))
    for (const refusal of outcome.refusals) this.#logger.debug(`refused: ${refusal}`)
    for (const { page, reason } of outcome.declined) this.#logger.debug(`left out on ${page}: ${reason}`)
    return outcome
  }

  #holds({ page, writer }: Entry): boolean {
    return this.#pages.get(page)?.get(clientIdOf(page, writer)) !== undefined
  }

  /** What proves that writers signed two values for one clock, as far as this process has seen it. */
  evidence(): readonly Evidence[] {
    return this.#evidence.all()
  }

  /** Hears of evidence when it is met. */
  onEvidence(listener: EvidenceListener): Unsubscribe {
    return this.#evidence.onNew(listener)
  }

  /**
   * Puts entries on a page that were verified or signed here.
   *
   * @throws MurmurateError `INVALID_REQUEST` when a writer of them has too many pages
   */
  put(id: PageId, entries: readonly StoredEntry[]): void {
    const kind = this.#policy.kindOf(id)
    if (kind !== undefined) for (const one of entries) this.quota.claim(kind, id, one)
    this.#put(id, entries)
  }

  #put(id: PageId, entries: readonly StoredEntry[]): void {
    if (entries.length === 0) return
    const page = this.#pages.get(id) ?? new Page(id)
    page.apply(entries.map((entry) => ({ ...entry, writer: this.#interned(entry.writer) })))
    this.#pages.set(page.id, page)
  }

  /** The update that says what is new in entries that the page does not have yet. */
  #updateOf(id: PageId, entries: readonly StoredEntry[]): Uint8Array {
    const page = this.#pages.get(id)
    const chains = entries.map(({ client, writer, seq, value }): Chain => {
      const start = Math.min(page?.known(client) ?? 0, seq)
      return { client, start, seq, value, key: start === 0 ? writer : undefined }
    })
    return writeUpdate(chains)
  }

  /** The same text for the same writer on all its pages: 72 bytes for an entry less. */
  #interned(writer: NodeId): NodeId {
    const known = this.#writers.get(writer)
    if (known === undefined) this.#writers.set(writer, writer)
    return known ?? writer
  }

  /** Takes away everything that the fleet root does not permit any more, and returns it. O(document): roots change seldom. */
  revise(): Entry[] {
    const removed: Entry[] = []
    for (const page of this.#pages.values()) {
      const kind = this.#policy.kindOf(page.id)
      if (kind === undefined) continue
      const gone = [...page.stored()].filter(({ writer }) => !this.#policy.permits(kind, writer))
      for (const { writer } of gone) this.quota.drop(kind, writer)
      removed.push(...this.#remove(page, kind, gone))
    }
    return removed
  }

  /** What a holder of this state vector lacks of a page, in updates small enough for one message each. */
  updatesSince(id: PageId, vector: StateVector): PageUpdate[] {
    const chains = this.#pages.get(id)?.chainsSince(vector) ?? []
    return updatesOf(id, chains)
  }

  /** Page digests by page id. */
  digests(): Map<PageId, Uint8Array> {
    return new Map(Array.from(this.#pages, ([id, page]) => [id, page.digest()]))
  }

  /** One digest over everything and the authority it stands under, in hexadecimal. */
  digest(authorityId = ''): string {
    const hash = createHash('sha256').update(authorityId)
    for (const [id, digest] of [...this.digests()].toSorted(([a], [b]) => (a < b ? -1 : 1)))
      hash.update(id).update(digest)
    return hash.digest('hex').slice(0, 32)
  }

  /** The entries of a page, in no particular order. Bodies are decoded each time: kept, they would take five times the space. */
  entries(id: PageId): Entry[] {
    const [page, kind] = [this.#pages.get(id), this.#policy.kindOf(id)]
    if (page === undefined || kind === undefined) return []
    return Array.from(page.stored(), (stored) => decodeEntry({ page, kind }, stored))
  }

  /** One writer's entry on a page. */
  entryOf(id: PageId, client: number): Entry | undefined {
    const [page, kind] = [this.#pages.get(id), this.#policy.kindOf(id)]
    const stored = page?.get(client)
    return page && kind && stored && decodeEntry({ page, kind }, stored)
  }
}

function claimFor(page: PageId, { stored, sealed }: Candidate): SignedClaim {
  return claimOf({ page, writer: stored.writer, seq: stored.seq }, sealed)
}
