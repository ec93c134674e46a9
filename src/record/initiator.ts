import type { PageId } from '../core/ids.js'
import { chainsFrom, updatesOf } from './chains.js'
import { PageComparison, slicesOf, VectorComparison, type Difference } from './comparison.js'
import { documentDigest } from './knowledge.js'
import { outOfTurn } from './round.js'
import { headBytes, maxSlicesARound, saltFor, Side, type RoundResult } from './side.js'
import { sliceDigestBytes } from './slices.js'
import type { PageSlices, Wants } from './sync-messages.js'
import type { PageUpdate } from './wire.js'

/** Largest encoding of a wanted row: two numbers of 9 bytes and their header. */
const wantedRowBytes = 19
/** Wanted rows of one item, so that it fits a message. */
const maxItemWants = 8192

/** The side that begins a round. */
export class Initiator extends Side {
  #truncated = false

  get #onlyAsks(): boolean {
    return this.components.isAboutHeld === true
  }

  async run(): Promise<RoundResult> {
    const salt = saltFor(this.components.random, this.#onlyAsks)
    this.goBy(salt)
    const ours = this.knowledge.digests()
    await this.round.send({ type: 'open', salt, digest: documentDigest(ours) })
    const answer = await this.round.receive()
    if (answer.type === 'equal') return { more: false, moved: 0 }
    const pages = new PageComparison(ours, salt)
    for await (const { items } of this.round.list('pages', answer)) {
      pages.take(items, (page) => this.components.store.knows(page))
    }
    pages.end()
    const differences = await this.#compare(pages.differing, salt)
    await this.#exchange(differences, pages.absent)
    const more = await this.#receiveUntilDone()
    return { more: more || pages.truncated || this.#truncated, moved: this.moved }
  }

  async #compare(differing: readonly PageId[], salt: Uint8Array): Promise<Map<PageId, Difference>> {
    const asked: PageId[] = []
    await this.round.sendPacked(
      this.#slices(differing, salt, asked),
      ({ page, digests }) => page.length + digests.byteLength + headBytes,
      (items, last) => ({ type: 'slices', items, last })
    )
    const vectors = new VectorComparison(this.knowledge, asked, (page, row) =>
      this.components.knowledge.hasDeclined(page, row)
    )
    if (asked.length === 0) return vectors.differences
    for await (const { items } of this.round.list('vectors')) for (const item of items) vectors.take(item)
    return vectors.differences
  }

  /** As many pages as a round takes. */
  *#slices(differing: readonly PageId[], salt: Uint8Array, asked: PageId[]): Generator<PageSlices> {
    let count = 0
    for (const page of differing) {
      const slices = slicesOf(this.knowledge, page, salt)
      count += slices.digests.byteLength / sliceDigestBytes
      if (count > maxSlicesARound) {
        this.#truncated = true
        return
      }
      asked.push(page)
      yield slices
    }
  }

  async #exchange(differences: ReadonlyMap<PageId, Difference>, absent: readonly PageId[]): Promise<void> {
    if (!this.#onlyAsks) await this.sendUpdates(this.#lacking(differences))
    for (const [page, { wants }] of differences) this.expected.expect(page, (client) => wants.has(client))
    for (const page of absent) this.expected.expect(page, () => true)
    await this.round.sendPacked(
      wantsOf(differences, absent),
      ({ page, rows = [] }) => page.length + rows.length * wantedRowBytes + headBytes,
      (items, last) => ({ type: 'wants', items, last })
    )
  }

  *#lacking(differences: ReadonlyMap<PageId, Difference>): Generator<PageUpdate> {
    for (const [id, { lacks }] of differences) {
      const page = this.components.store.page(id)
      // What is known but was declined is not here to be sent.
      const held = [...lacks].filter(([client, start]) => (page?.known(client) ?? 0) > start)
      yield* updatesOf(id, chainsFrom(page, held))
    }
  }

  async #receiveUntilDone(): Promise<boolean> {
    for (;;) {
      const message = await this.round.receive()
      if (message.type === 'done') return message.more
      if (message.type !== 'updates') throw outOfTurn(message)
      await this.take(message)
    }
  }
}

/** What we lack, pages and clients in ascending order. */
function* wantsOf(differences: ReadonlyMap<PageId, Difference>, absent: readonly PageId[]): Generator<Wants> {
  for (const page of [...absent, ...differences.keys()].sort()) {
    const wants = differences.get(page)?.wants
    if (wants === undefined) yield { page, rows: undefined }
    else yield* wantsItems(page, wants)
  }
}

function* wantsItems(page: PageId, wants: ReadonlyMap<number, number>): Generator<Wants> {
  const rows = Array.from(wants, ([client, clock]) => ({ client, clock })).sort((a, b) => a.client - b.client)
  for (let at = 0; at < rows.length; at += maxItemWants) yield { page, rows: rows.slice(at, at + maxItemWants) }
}
