import type { NodeId, PageId } from '../core/ids.js'

/** An entry that this node knows of and does not take. */
export interface Declined {
  readonly page: PageId
  readonly client: number
  readonly writer: NodeId
  readonly seq: number
  readonly valueHash: Uint8Array
  readonly reason: string
  /** Only because its writer has as many pages of the kind as it may. */
  readonly isSurplus?: true
}

/** Entries at most: 4096 of about 300 bytes are 1.2 MiB. */
const maxDeclined = 4096

/**
 * Remembers what was declined, so that anti-entropy does not fetch it again in each round: another version, or another fleet
 * root, would accept it, and then this node is another process or is told.
 */
export class DeclinedBook {
  readonly #pages = new Map<PageId, Map<number, Declined>>()
  #size = 0

  /** Entries in memory. */
  get size(): number {
    return this.#size
  }

  /** Pages with a declined entry. */
  pages(): IterableIterator<PageId> {
    return this.#pages.keys()
  }

  /** The declined entries of a page by client id. */
  of(page: PageId): ReadonlyMap<number, Declined> | undefined {
    return this.#pages.get(page)
  }

  /**
   * Adds entries; the oldest ones go when there are too many. Not those above a quota: whoever still holds one is told of the
   * lower pages and drops it too, and to remember what nobody holds would make two nodes look for it in each round.
   */
  add(entries: readonly Declined[]): void {
    for (const entry of entries) {
      if (entry.isSurplus === true) continue
      const page = this.#pages.get(entry.page) ?? new Map<number, Declined>()
      this.#pages.set(entry.page, page)
      if (!page.has(entry.client)) this.#size += 1
      page.set(entry.client, entry)
      if (this.#size > maxDeclined) this.#forgetOne()
    }
  }

  /** What is permitted has changed: everything is asked for again. */
  clear(): void {
    this.#pages.clear()
    this.#size = 0
  }

  #forgetOne(): void {
    for (const [id, page] of this.#pages) {
      const client = page.keys().next().value
      if (client !== undefined) page.delete(client)
      if (page.size === 0) this.#pages.delete(id)
      this.#size -= 1
      return
    }
  }
}
