import { MurmurateError } from '../core/errors.js'
import type { NodeId, PageId } from '../core/ids.js'
import { publicKeyOf } from '../identity/node-id.js'
import type { Admitted } from './admission.js'
import type { Declined } from './declined.js'
import { clientIdOf } from './entry.js'
import { hashOf, type Page, type StoredEntry } from './page.js'
import type { PageKind } from './policy.js'

/** Where a writer has an entry. The client id is a hash of page and writer: the higher, the sooner it must go. */
export interface Place {
  readonly page: PageId
  readonly client: number
}

/** What a writer wants to write. */
interface Wish extends Pick<StoredEntry, 'client' | 'writer'> {
  readonly id: PageId
}

/** What becomes of verified entries of a page. */
interface Sifted {
  readonly admitted: readonly Admitted[]
  /** Those that have no room. */
  readonly surplus: readonly Declined[]
  /** Where an entry must leave. */
  readonly gone: readonly Place[]
}

/**
 * Counts on how many pages of each kind every writer has an entry, and says which must go when there are too many: of all that
 * it was ever told of, the lowest stay, in whatever order they came. So nodes that have met the same entries keep the same.
 *
 * Memory: a number for a writer and kind, about 50 bytes; for one that was ever above its limit its places in order, about 50
 * bytes each, which is a tenth of what the entries take.
 */
export class PageQuota {
  readonly #pages: ReadonlyMap<PageId, Page>
  readonly #kinds = new Map<string, Map<NodeId, number | Place[]>>()

  /** @param pages - all pages that hold an entry */
  constructor(pages: ReadonlyMap<PageId, Page>) {
    this.#pages = pages
  }

  /** Which of the verified entries of a page may enter, and which other places must be left for them. */
  sift(kind: PageKind, id: PageId, entries: readonly Admitted[]): Sifted {
    const [admitted, surplus, gone]: [Admitted[], Declined[], Place[]] = [[], [], []]
    for (const one of entries) {
      const excess = this.#add(kind, id, one.stored)
      if (excess?.page === id) surplus.push(declinedBy(kind, id, one.stored))
      else admitted.push(one)
      if (excess !== undefined && excess.page !== id) gone.push(excess)
    }
    return { admitted, surplus, gone }
  }

  /** Counts an entry of this node. @throws MurmurateError `INVALID_REQUEST` */
  claim(kind: PageKind, id: PageId, stored: StoredEntry): void {
    this.assertRoom(kind, { ...stored, id }, 0)
    this.#add(kind, id, stored)
  }

  /** Forgets a writer whose entries of a kind have all left the document. */
  drop(kind: PageKind, writer: NodeId): void {
    this.#talliesOf(kind).delete(writer)
  }

  /**
   * For a writer that wants to write a page, besides this many new ones that are under way.
   *
   * @throws MurmurateError `INVALID_REQUEST`
   */
  assertRoom(kind: PageKind, { id, writer, client }: Wish, underWay: number): void {
    if (this.#pages.get(id)?.get(client) !== undefined) return
    const tally = this.#talliesOf(kind).get(writer) ?? 0
    const count = underWay + (typeof tally === 'number' ? tally : tally.length)
    const limit = kind.maxPagesPerWriter
    if (count < limit) return
    const message = `${id} is not written: this node has entries on ${count} pages of the kind ${kind.name}, and nodes keep at most`
    throw new MurmurateError('INVALID_REQUEST', `${message} ${limit} of one writer; write it with another node's key`, {
      details: { page: id, count, limit }
    })
  }

  /** Counts a writer's entry if it is the first on its page. Returns the place that must be left, perhaps this one. */
  #add(kind: PageKind, page: PageId, { client, writer }: StoredEntry): Place | undefined {
    if (this.#pages.get(page)?.get(client) !== undefined) return undefined
    const tallies = this.#talliesOf(kind)
    const tally = tallies.get(writer) ?? 0
    if (typeof tally === 'number' && tally < kind.maxPagesPerWriter) {
      tallies.set(writer, tally + 1)
      return undefined
    }
    const places = typeof tally === 'number' ? this.#placesOf(kind, writer) : tally
    tallies.set(writer, places)
    const place = { page, client }
    places.splice(indexFor(places, place), 0, place)
    return places.pop()
  }

  #talliesOf({ name }: PageKind): Map<NodeId, number | Place[]> {
    const tallies = this.#kinds.get(name) ?? new Map<NodeId, number | Place[]>()
    this.#kinds.set(name, tallies)
    return tallies
  }

  /** All places of a writer, the lowest first. O(pages), once for a writer that has too many. */
  #placesOf({ name }: PageKind, writer: NodeId): Place[] {
    const publicKey = publicKeyOf(writer)
    const places: Place[] = []
    for (const page of this.#pages.values()) {
      if (!page.id.startsWith(`${name}/`)) continue
      const client = clientIdOf(page.id, writer, publicKey)
      if (page.get(client) !== undefined) places.push({ page: page.id, client })
    }
    return places.sort(compare)
  }
}

function declinedBy(kind: PageKind, page: PageId, { client, writer, seq, value }: StoredEntry): Declined {
  const reason = `${writer} has ${kind.maxPagesPerWriter} lower pages of the kind ${kind.name}, as many as it may`
  return { page, client, writer, seq, valueHash: hashOf(value), reason, isSurplus: true }
}

/** A total order, the same everywhere; two pages with one client id are next to impossible. */
function compare(a: Place, b: Place): number {
  if (a.client !== b.client) return a.client - b.client
  return a.page < b.page ? -1 : 1
}

/** How many of the places, which are in order, come before this one. */
function indexFor(places: readonly Place[], place: Place): number {
  let [low, high] = [0, places.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    const other = places[middle]
    if (other !== undefined && compare(other, place) < 0) low = middle + 1
    else high = middle
  }
  return low
}
