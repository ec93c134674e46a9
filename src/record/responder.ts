import { equalBytes } from '../core/codec.js'
import type { PageId } from '../core/ids.js'
import { chainsFrom, updatesOf } from './chains.js'
import {
  compareSlices,
  maxPagesARound,
  maxRowsARound,
  shortDigest,
  vectorsOf,
  type SlicesToSend
} from './comparison.js'
import { documentDigest } from './knowledge.js'
import { Ascending, malformed, outOfTurn } from './round.js'
import { headBytes, maxSlicesARound, Side } from './side.js'
import { sliceDigestBytes, sliceOf } from './slices.js'
import type { SliceVectors, Wants } from './sync-messages.js'
import type { PageUpdate } from './wire.js'

/** Largest encoding of a row of a vector: two numbers of 9 bytes, a tag of 9, the header. */
const vectorRowBytes = 28
/** Largest encoding of the number of a slice. */
const sliceNumberBytes = 3

/** The side that answers a round. */
export class Responder extends Side {
  #truncated = false

  async run(): Promise<void> {
    const open = await this.round.receive()
    if (open.type !== 'open') throw outOfTurn(open)
    this.goBy(open.salt)
    const ours = this.knowledge.digests()
    if (equalBytes(documentDigest(ours), open.digest)) return this.round.send({ type: 'equal' })
    await this.round.sendPacked(
      ours.map(([page, digest]) => [page, shortDigest(digest, open.salt)] as const),
      ([page, digest]) => page.length + digest.byteLength + headBytes,
      (items, last) => ({ type: 'pages', items, last })
    )
    await this.#answerSlices(open.salt)
    const wants = await this.#receiveWants()
    await this.sendUpdates(this.#wanted(wants))
    await this.round.send({ type: 'done', more: this.#truncated })
  }

  async #answerSlices(salt: Uint8Array): Promise<void> {
    const toSend: SlicesToSend[] = []
    const order = new Ascending<PageId>()
    let asked = 0
    let count = 0
    for await (const { items } of this.round.list('slices')) {
      for (const item of items) {
        order.take(item.page)
        count += item.digests.byteLength / sliceDigestBytes
        if (++asked > maxPagesARound || count > maxSlicesARound) throw malformed('too many slices')
        const differing = this.components.store.knows(item.page) ? compareSlices(this.knowledge, item, salt) : undefined
        if (differing !== undefined) toSend.push(differing)
      }
    }
    if (asked > 0) await this.#sendVectors(toSend)
  }

  async #sendVectors(toSend: readonly SlicesToSend[]): Promise<void> {
    await this.round.sendPacked(
      this.#vectors(toSend),
      ({ page, slices, rows }) =>
        page.length + slices.length * sliceNumberBytes + rows.length * vectorRowBytes + headBytes,
      (items, last) => ({ type: 'vectors', items, last })
    )
  }

  /** As many writers as a round takes. Entries of these slices may come. */
  *#vectors(toSend: readonly SlicesToSend[]): Generator<SliceVectors> {
    let count = 0
    for (const { page, bits, slices } of toSend) {
      const told = new Set(slices)
      this.expected.expect(page, (client) => told.has(sliceOf(client, bits)))
      for (const item of vectorsOf(this.knowledge, { page, bits, slices })) {
        count += item.rows.length
        if (count > maxRowsARound) {
          this.#truncated = true
          return
        }
        yield item
      }
    }
  }

  /** The updates that the initiator found missing here, then what it lacks. */
  async #receiveWants(): Promise<Wants[]> {
    const reader = new WantsReader()
    for (let message = await this.round.receive(); ; message = await this.round.receive()) {
      if (message.type !== 'updates') {
        for await (const { items } of this.round.list('wants', message)) {
          for (const item of items) reader.take(item)
        }
        return reader.wants
      }
      await this.take(message)
    }
  }

  *#wanted(wants: readonly Wants[]): Generator<PageUpdate> {
    const { store } = this.components
    for (const { page, rows } of wants) {
      if (rows === undefined) yield* store.updatesSince(page, new Map())
      else
        yield* updatesOf(
          page,
          chainsFrom(
            store.page(page),
            rows.map(({ client, clock }) => [client, clock] as const)
          )
        )
    }
  }
}

/** Pages come in order, and so do the clients of each; a page with many goes on in the next item. */
class WantsReader {
  readonly wants: Wants[] = []
  #rows = 0
  #page: PageId | undefined
  #pages = new Ascending<PageId>()
  #clients = new Ascending<number>()

  take(item: Wants): void {
    if (item.page !== this.#page || item.rows === undefined) {
      this.#pages.take(item.page)
      this.#clients = new Ascending()
      this.#page = item.page
    }
    for (const { client } of item.rows ?? []) this.#clients.take(client)
    this.#rows += item.rows?.length ?? 0
    this.wants.push(item)
    if (this.wants.length > 2 * maxPagesARound || this.#rows > maxRowsARound) throw malformed('too many wants')
  }
}
