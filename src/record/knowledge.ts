import { createHash } from 'node:crypto'
import { equalBytes } from '../core/codec.js'
import type { PageId } from '../core/ids.js'
import type { Declined, DeclinedBook } from './declined.js'
import { hashOf, tagBytes, type Page, type StoredEntry } from './page.js'
import type { Row } from './slices.js'
import type { PageStore } from './store.js'
import type { VectorRow } from './sync-messages.js'

/** A page and its digest. */
export type PageDigest = readonly [page: PageId, digest: Uint8Array]

/** What a node knows of the mesh: the entries that it holds, and those that it was given and does not take. */
export class Knowledge {
  readonly #store: PageStore
  readonly #declined: DeclinedBook

  readonly #isOfHeld: boolean

  constructor(store: PageStore, declined: DeclinedBook, isOfHeld = false) {
    this.#store = store
    this.#declined = declined
    this.#isOfHeld = isOfHeld
  }

  /** What the same node holds. Pages of which it has declined everything are in it, as empty ones: it does not ask for them whole. */
  ofHeld(): Knowledge {
    return new Knowledge(this.#store, this.#declined, true)
  }

  /** Whether this very value was declined. */
  hasDeclined(page: PageId, { client, clock, tag }: VectorRow): boolean {
    const declined = this.#declined.of(page)?.get(client)
    return declined?.seq === clock - 1 && equalBytes(declined.valueHash.subarray(0, tagBytes), tag)
  }

  /** Every page, in ascending order of its id. */
  digests(): PageDigest[] {
    const digests = new Map<PageId, Uint8Array>()
    for (const page of this.#store.pages()) digests.set(page.id, this.#digestOf(page.id, page))
    for (const id of this.#declined.pages()) if (!digests.has(id)) digests.set(id, this.#digestOf(id, undefined))
    return [...digests].sort(([a], [b]) => (a < b ? -1 : 1))
  }

  /** How far each writer of a page is known. */
  rows(page: PageId): Row[] {
    const held = this.#store.page(page)
    const declined = this.#ahead(page, held)
    const rows = Array.from(held?.stored() ?? [], (stored) => declined.get(stored.client) ?? rowOf(stored))
    for (const [client, row] of declined) if (held?.get(client) === undefined) rows.push(row)
    return rows
  }

  /** The next clock of a writer of which this node holds everything. */
  heldClock(page: PageId, client: number): number {
    return this.#store.page(page)?.known(client) ?? 0
  }

  /** Declined entries that are not older than what is held of their writers. */
  #ahead(id: PageId, held: Page | undefined): Map<number, Row & { readonly writer: string }> {
    const ahead = new Map<number, Row & { readonly writer: string }>()
    for (const [client, declined] of (this.#isOfHeld ? undefined : this.#declined.of(id)) ?? []) {
      if (isAhead(declined, held?.get(client))) {
        ahead.set(client, { ...rowOfDeclined(declined), writer: declined.writer })
      }
    }
    return ahead
  }

  /** What the page's digest would be if everything known of it were held. */
  #digestOf(id: PageId, held: Page | undefined): Uint8Array {
    const ahead = this.#ahead(id, held)
    if (held !== undefined && ahead.size === 0) return held.digest()
    const rows = Array.from(held?.stored() ?? [], (stored) => ({ ...rowOf(stored), writer: stored.writer }))
    const known = [...rows.filter(({ client }) => !ahead.has(client)), ...ahead.values()]
    const hash = createHash('sha256')
    for (const { writer, clock, valueHash } of known.sort((a, b) => (a.writer < b.writer ? -1 : 1))) {
      hash.update(`${writer} ${clock - 1} `).update(valueHash)
    }
    return new Uint8Array(hash.digest().subarray(0, 16))
  }
}

/** One digest over pages in ascending order, 16 bytes. */
export function documentDigest(digests: readonly PageDigest[]): Uint8Array {
  const hash = createHash('sha256')
  for (const [page, digest] of digests) hash.update(page).update(digest)
  return new Uint8Array(hash.digest().subarray(0, 16))
}

function isAhead(declined: Declined, stored: StoredEntry | undefined): boolean {
  return stored === undefined || declined.seq >= stored.seq
}

function rowOf({ client, seq, value }: StoredEntry): Row {
  return { client, clock: seq + 1, valueHash: hashOf(value) }
}

function rowOfDeclined({ client, seq, valueHash }: Declined): Row {
  return { client, clock: seq + 1, valueHash }
}
