import { createHash } from 'node:crypto'
import type { NodeId, PageId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import type { SignatureVerifier } from '../identity/signature.js'
import { admit } from './admission.js'
import type { Declined } from './declined.js'
import type { Entry } from './entry.js'
import { Page, type StateVector, type StoredEntry } from './page.js'
import type { Policy } from './policy.js'
import { updatesOf } from './chains.js'
import type { PageUpdate } from './wire.js'
import { writeUpdate, type Chain } from './yjs-update.js'

/** What became of a batch of updates. */
export interface IngestResult {
  /** What was new, as it can be kept and passed on. */
  readonly updates: readonly PageUpdate[]
  readonly entries: readonly Entry[]
  /** What whoever sent them is to blame for. */
  readonly refusals: readonly string[]
  /** What was left out although its writer signed it. */
  readonly declined: readonly Declined[]
  readonly gap: boolean
}

/** The pages of a node in memory. No I/O: what goes in was already received, what comes out is for others to send or keep. */
export class PageStore {
  readonly #policy: Policy
  readonly #verifier: SignatureVerifier
  readonly #logger: Logger
  readonly #pages = new Map<PageId, Page>()

  constructor(policy: Policy, verifier: SignatureVerifier, logger: Logger) {
    this.#policy = policy
    this.#verifier = verifier
    this.#logger = logger
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

  /** Takes what admission lets in. */
  ingest(updates: readonly PageUpdate[]): IngestResult {
    const result = {
      updates: [] as PageUpdate[],
      entries: [] as Entry[],
      refusals: [] as string[],
      declined: [] as Declined[],
      gap: false
    }
    for (const { page: id, update } of updates) {
      const kind = this.#policy.kindOf(id)
      if (kind === undefined) {
        // Not the sender's fault: a newer version may have kinds of pages that this one lacks.
        this.#logger.debug(`${id} is not a page that this node knows`)
        continue
      }
      const page = this.#pages.get(id) ?? new Page(id)
      const checks = { policy: this.#policy, verifier: this.#verifier }
      const { admitted, refusals, declined, gap } = admit(page, kind, update, checks)
      result.refusals.push(...refusals)
      result.declined.push(...declined)
      result.gap ||= gap
      if (admitted.length === 0) continue
      this.#reportTwice(page, admitted)
      result.updates.push({ page: id, update: this.put(id, admitted) })
      for (const stored of admitted) result.entries.push(stored.entry)
    }
    for (const refusal of result.refusals) this.#logger.debug(`refused: ${refusal}`)
    for (const { page, reason } of result.declined) this.#logger.debug(`left out on ${page}: ${reason}`)
    return result
  }

  /** Two values for one clock, both signed: a restored disk, a key in two places, or a writer that lies. */
  #reportTwice(page: Page, admitted: readonly StoredEntry[]): void {
    for (const { client, entry } of admitted) {
      if (entry.seq >= page.known(client)) continue
      this.#logger.warn(`${entry.writer} signed two values for clock ${entry.seq} of ${page.id}`)
    }
  }

  /** Puts verified entries on a page; returns the update that says the same. */
  put(id: PageId, stored: readonly StoredEntry[]): Uint8Array {
    const page = this.#pages.get(id) ?? new Page(id)
    const chains = stored.map(({ client, entry, value }): Chain => {
      const start = Math.min(page.known(client), entry.seq)
      return { client, start, seq: entry.seq, value, key: start === 0 ? entry.writer : undefined }
    })
    page.apply(stored)
    this.#pages.set(page.id, page)
    return writeUpdate(chains)
  }

  /** Takes away everything that the fleet root does not permit any more, and returns it. O(document): roots change seldom. */
  revise(): Entry[] {
    const removed: Entry[] = []
    for (const page of this.#pages.values()) {
      const kind = this.#policy.kindOf(page.id)
      const gone = [...page.stored()].filter(
        ({ entry }) => kind === undefined || !this.#policy.permits(kind, entry.writer)
      )
      page.remove(gone)
      for (const { entry } of gone) removed.push(entry)
      if (page.isEmpty) this.#pages.delete(page.id)
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

  /** The entries of a page, in no particular order. */
  entries(id: PageId): Entry[] {
    return Array.from(this.#pages.get(id)?.stored() ?? [], ({ entry }) => entry)
  }

  /** One writer's entry on a page. */
  entryOf(id: PageId, client: number): (Entry & { readonly writer: NodeId }) | undefined {
    return this.#pages.get(id)?.get(client)?.entry
  }
}
