/**
 * What two nodes find out about their difference, step by step; no I/O.
 *
 * The page digests of a round are hashed with its salt before they are cut to 8 bytes: two pages that differ look equal once
 * in 2^64 times, nobody can prepare such pages, and the next round has another salt.
 */
import { createHash } from 'node:crypto'
import { equalBytes } from '../core/codec.js'
import type { PageId } from '../core/ids.js'
import type { Knowledge, PageDigest } from './knowledge.js'
import { tagBytes } from './page.js'
import { Ascending, malformed } from './round.js'
import { cutIntoSlices, differingSlices, sliceBitsFor, sliceDigests, sliceOf, type Row } from './slices.js'
import { shortDigestBytes, type PageSlices, type SliceVectors, type VectorRow } from './sync-messages.js'

/** Pages of which one round speaks; what is more waits for the next one, which follows at once. */
export const maxPagesARound = 4096
/** Writers of whom one round speaks, likewise: about 3 MiB on the wire. */
export const maxRowsARound = 2 ** 17
/** Rows and slices of one item, so that it fits a message. */
const maxItemRows = 2048
const maxItemSlices = 4096

/** A page digest as a round carries it. */
export function shortDigest(digest: Uint8Array, salt: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(salt).update(digest).digest().subarray(0, shortDigestBytes))
}

/** Finds the pages that differ, while the other side's list comes in. Holds no more than these. */
export class PageComparison {
  /** Pages that are here and differ or are not there. */
  readonly differing: PageId[] = []
  /** Pages that are only there. */
  readonly absent: PageId[] = []
  /** There were more than a round takes. */
  truncated = false
  readonly #ours: readonly PageDigest[]
  readonly #salt: Uint8Array
  readonly #order = new Ascending<PageId>()
  #at = 0

  constructor(ours: readonly PageDigest[], salt: Uint8Array) {
    this.#ours = ours
    this.#salt = salt
  }

  take(items: readonly PageDigest[], knows: (page: PageId) => boolean): void {
    for (const [page, digest] of items) {
      this.#order.take(page)
      this.#passUpTo(page)
      const own = this.#ours[this.#at]
      if (own?.[0] !== page) {
        if (knows(page)) this.#add(this.absent, page)
      } else {
        this.#at += 1
        if (!equalBytes(shortDigest(own[1], this.#salt), digest)) this.#add(this.differing, page)
      }
    }
  }

  /** The other side's list has ended. */
  end(): void {
    this.#passUpTo(undefined)
  }

  /** Our pages before this one are not there. */
  #passUpTo(page: PageId | undefined): void {
    for (let own = this.#ours[this.#at]; own !== undefined; own = this.#ours[++this.#at]) {
      if (page !== undefined && own[0] >= page) return
      this.#add(this.differing, own[0])
    }
  }

  #add(pages: PageId[], page: PageId): void {
    if (this.differing.length + this.absent.length >= maxPagesARound) this.truncated = true
    else pages.push(page)
  }
}

/** The slices of a page as we know it. */
export function slicesOf(knowledge: Knowledge, page: PageId, salt: Uint8Array): PageSlices {
  const rows = knowledge.rows(page)
  const bits = sliceBitsFor(rows.length)
  return { page, bits, digests: sliceDigests(cutIntoSlices(rows, bits), bits, salt) }
}

/** The slices of a page that are not as the other side has them. */
export interface SlicesToSend {
  readonly page: PageId
  readonly bits: number
  readonly slices: readonly number[]
}

/** Finds the slices that differ; undefined when none does. */
export function compareSlices(knowledge: Knowledge, theirs: PageSlices, salt: Uint8Array): SlicesToSend | undefined {
  const { page, bits, digests } = theirs
  const own = sliceDigests(cutIntoSlices(knowledge.rows(page), bits), bits, salt)
  const slices = differingSlices(own, digests)
  return slices.length === 0 ? undefined : { page, bits, slices }
}

/** What we know of the writers in these slices, in items that fit a message. Slices with too many writers are cut finer. */
export function* vectorsOf(knowledge: Knowledge, toSend: SlicesToSend): Generator<SliceVectors> {
  const { page } = toSend
  const known = knowledge.rows(page)
  const { bits, slices } = finer(toSend, known.length)
  const cut = cutIntoSlices(known, bits)
  let item: { slices: number[]; rows: VectorRow[] } = { slices: [], rows: [] }
  for (const slice of slices) {
    const rows = cut.get(slice) ?? []
    if (item.rows.length + rows.length > maxItemRows || item.slices.length >= maxItemSlices) {
      if (item.slices.length > 0) yield { page, bits, ...item }
      item = { slices: [], rows: [] }
    }
    item.slices.push(slice)
    for (const row of rows) item.rows.push(vectorRow(row))
  }
  yield { page, bits, ...item }
}

/** The other side may know a few writers where we know thousands: then its slices are cut as it suits our number. */
function finer({ page, bits, slices }: SlicesToSend, writers: number): SlicesToSend {
  if (writers <= maxItemRows) return { page, bits, slices }
  const fine = Math.max(bits, sliceBitsFor(writers))
  const parts = Array.from({ length: 2 ** (fine - bits) }, (_, part) => part * 2 ** bits)
  return {
    page,
    bits: fine,
    slices: slices.flatMap((slice) => parts.map((part) => part + slice)).sort((a, b) => a - b)
  }
}

function vectorRow({ client, clock, valueHash }: Row): VectorRow {
  return { client, clock, tag: valueHash.subarray(0, tagBytes) }
}

/** What a comparison of vectors found for one page. */
export interface Difference {
  /** What we lack: client id to the next clock that we hold. */
  readonly wants: Map<number, number>
  /** What they lack: client id to the first clock of it. */
  readonly lacks: Map<number, number>
}

/** Compares vectors with what we know, while they come in. Holds the differences, of at most `maxRowsARound` writers. */
export class VectorComparison {
  readonly differences = new Map<PageId, Difference>()
  readonly #knowledge: Knowledge
  readonly #asked: ReadonlySet<PageId>
  readonly #isUnwanted: (page: PageId, row: VectorRow) => boolean
  readonly #pages = new Ascending<PageId>()
  #current: { page: PageId; bits: number; cut: Map<number, Row[]>; order: Ascending<number> } | undefined
  #rows = 0

  /** @param isUnwanted - whether a value is not to be asked for, because it was declined */
  constructor(
    knowledge: Knowledge,
    asked: readonly PageId[],
    isUnwanted: (page: PageId, row: VectorRow) => boolean = () => false
  ) {
    this.#knowledge = knowledge
    this.#isUnwanted = isUnwanted
    this.#asked = new Set(asked)
  }

  take(item: SliceVectors): void {
    const { page, bits, slices } = item
    if (slices.length === 0 || !this.#asked.has(page)) throw malformed(`a vector of ${page} that nobody asked for`)
    this.#rows += item.rows.length
    if (this.#rows > maxRowsARound) throw malformed(`vectors of more than ${maxRowsARound} writers`)
    const { cut, order } = this.#enter(page, bits)
    const theirs = this.#rowsBySlice(item)
    for (const slice of slices) {
      order.take(slice)
      this.#compare(page, cut.get(slice) ?? [], theirs.get(slice) ?? new Map<number, VectorRow>())
      theirs.delete(slice)
    }
    if (theirs.size > 0) throw malformed(`a writer of ${page} outside its slice`)
  }

  #enter(page: PageId, bits: number): { cut: Map<number, Row[]>; order: Ascending<number> } {
    if (this.#current?.page === page) {
      if (this.#current.bits !== bits) throw malformed(`two cuts of ${page}`)
      return this.#current
    }
    this.#pages.take(page)
    this.#current = { page, bits, cut: cutIntoSlices(this.#knowledge.rows(page), bits), order: new Ascending() }
    return this.#current
  }

  #rowsBySlice({ bits, rows }: SliceVectors): Map<number, Map<number, VectorRow>> {
    const bySlice = new Map<number, Map<number, VectorRow>>()
    for (const row of rows) {
      const slice = bySlice.get(sliceOf(row.client, bits)) ?? new Map<number, VectorRow>()
      bySlice.set(sliceOf(row.client, bits), slice.set(row.client, row))
    }
    return bySlice
  }

  #compare(page: PageId, ours: readonly Row[], theirs: Map<number, VectorRow>): void {
    const difference = this.differences.get(page) ?? { wants: new Map(), lacks: new Map() }
    for (const own of ours) {
      const other = theirs.get(own.client)
      const ahead = aheadness(own, other)
      if (ahead >= 0) difference.lacks.set(own.client, ahead === 0 ? own.clock - 1 : (other?.clock ?? 0))
      if (ahead <= 0 && other !== undefined && !this.#isUnwanted(page, other))
        difference.wants.set(own.client, this.#knowledge.heldClock(page, own.client))
      theirs.delete(own.client)
    }
    for (const row of theirs.values()) if (!this.#isUnwanted(page, row)) difference.wants.set(row.client, 0)
    if (difference.wants.size + difference.lacks.size > 0) this.differences.set(page, difference)
  }
}

/** Above 0 when we know more, below when they do, 0 when each has another value for one clock; NaN when both are the same. */
function aheadness(own: Row, other: VectorRow | undefined): number {
  if (other === undefined || own.clock !== other.clock) return own.clock - (other?.clock ?? 0)
  return equalBytes(own.valueHash.subarray(0, tagBytes), other.tag) ? NaN : 0
}
