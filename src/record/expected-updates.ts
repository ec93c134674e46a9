import type { PageId } from '../core/ids.js'
import { malformed } from './round.js'
import type { PageUpdate } from './wire.js'
import { parseUpdate } from './yjs-update.js'

interface Expected {
  readonly allows: (client: number) => boolean
  readonly taken: Set<number>
}

/** Entries that one peer may send for one page in a round; twice as many as the design size has nodes, and more. */
const maxEntriesAPage = 2 ** 17

/**
 * What a peer was asked for in a round: nothing else may come, and nothing twice. So a round ends, whatever the peer has in
 * mind, and an idle stream of known entries is noticed.
 */
export class ExpectedUpdates {
  readonly #pages = new Map<PageId, Expected>()

  /** Expects entries of these clients on a page. */
  expect(page: PageId, allows: (client: number) => boolean): void {
    this.#pages.set(page, { allows, taken: new Set() })
  }

  /** @throws MurmurateError `MALFORMED` when something was not asked for */
  take(updates: readonly PageUpdate[]): void {
    if (updates.length === 0) throw malformed('a message without updates')
    for (const { page, update } of updates) this.#takeOne(page, update)
  }

  #takeOne(page: PageId, update: Uint8Array): void {
    const expected = this.#pages.get(page)
    const chains = parseUpdate(update)
    if (expected === undefined || chains.length === 0) throw malformed(`an update of ${page} that nobody asked for`)
    for (const { client } of chains) {
      if (!expected.allows(client) || expected.taken.has(client) || expected.taken.size >= maxEntriesAPage) {
        throw malformed(`an entry of ${page} that nobody asked for`)
      }
      expected.taken.add(client)
    }
  }
}
