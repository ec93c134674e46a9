import { hash } from 'node:crypto'
import * as Y from 'yjs'
import { equalBytes } from '../core/codec.js'
import type { NodeId, PageId } from '../core/ids.js'
import { openEntry } from './entry.js'
import { rootName, writeUpdate, type Chain } from './yjs-update.js'

/** Yjs changes a document's client id when it meets its own in an update; views hold this one, which nobody has. */
const sentinelClientId = 0
const digestBytes = 16

/** A verified entry as a page keeps it: what else there is to know of it stands in its value. */
export interface StoredEntry {
  readonly client: number
  readonly writer: NodeId
  /** The clock of the value. */
  readonly seq: number
  /** The signed bytes as they came. */
  readonly value: Uint8Array
}

/** How far a page knows a client. */
export interface Known {
  /** The number of values, as in a Yjs state vector: the next clock. */
  readonly clock: number
  /** First 8 bytes of the hash of the last value: tells apart two values that a writer signed for one clock. */
  readonly tag: Uint8Array
}

/** How far a page knows each client, by client id. */
export type StateVector = ReadonlyMap<number, Known>

/** Bytes of `Known.tag`. */
export const tagBytes = 8

/**
 * Which of two values of one writer stays, the same on every node: the higher clock. Two values for one clock come from a
 * disk that was restored or a key in two places; then the higher epoch stays, then the higher hash.
 */
export function supersedes(candidate: StoredEntry, present: StoredEntry): boolean {
  if (candidate.seq !== present.seq) return candidate.seq > present.seq
  const [a, b] = [openEntry(candidate.value).epoch, openEntry(present.value).epoch]
  if (a !== b) return a > b
  return Buffer.compare(hashOf(candidate.value), hashOf(present.value)) > 0
}

/**
 * One Yjs document with one map: key = writer, value = the writer's whole signed entry. Takes only what admission has verified.
 *
 * The page keeps its entries, of which the Yjs document follows: every update that it takes or gives is one of Yjs. An object
 * of Yjs for it is made for who wants one: 60 000 entries in such take 64 MB, and here half of that.
 */
export class Page {
  readonly id: PageId
  readonly #byClient = new Map<number, StoredEntry>()
  #view: WeakRef<Y.Doc> | undefined
  #digest: Uint8Array | undefined

  constructor(id: PageId) {
    this.id = id
  }

  /** The number of values known of a client; its next clock. */
  known(client: number): number {
    const stored = this.#byClient.get(client)
    return stored === undefined ? 0 : stored.seq + 1
  }

  /** Whether no writer has an entry here. */
  get isEmpty(): boolean {
    return this.#byClient.size === 0
  }

  /** The present entry of a client. */
  get(client: number): StoredEntry | undefined {
    return this.#byClient.get(client)
  }

  /** All present entries. */
  stored(): IterableIterator<StoredEntry> {
    return this.#byClient.values()
  }

  /** Puts verified entries in place, all in one Yjs transaction. Each must supersede what is known of its client. */
  apply(entries: readonly StoredEntry[]): void {
    if (entries.length === 0) return
    const view = this.#view?.deref()
    // Yjs cannot replace a value at its clock.
    if (entries.some(({ client, seq }) => seq < this.known(client))) this.#endView()
    else if (view !== undefined)
      applyChains(
        view,
        entries.map((stored) => this.#chainFrom(stored, this.known(stored.client)))
      )
    for (const stored of entries) this.#byClient.set(stored.client, stored)
    this.#digest = undefined
  }

  /** Takes entries away, as if they had never been here. Yjs cannot forget a writer: its document ends. */
  remove(entries: readonly StoredEntry[]): void {
    if (entries.length === 0) return
    for (const { client } of entries) this.#byClient.delete(client)
    this.#endView()
    this.#digest = undefined
  }

  /** Everything that a holder of this state vector lacks, oldest client first. */
  chainsSince(vector: StateVector): Chain[] {
    const missing: Chain[] = []
    for (const stored of this.#byClient.values()) {
      const { seq } = stored
      const theirs = vector.get(stored.client)
      if (theirs === undefined || theirs.clock <= seq) missing.push(this.#chainFrom(stored, theirs?.clock ?? 0))
      else if (theirs.clock === seq + 1 && !equalBytes(theirs.tag, tagOf(stored)))
        missing.push(this.#chainFrom(stored, seq))
    }
    return missing
  }

  /** The whole page as one update for any Yjs document. */
  export(): Uint8Array {
    return writeUpdate(this.chainsSince(new Map()))
  }

  /** The page as a Yjs document that follows it for as long as somebody holds it, or until it is destroyed. */
  view(): Y.Doc {
    const present = this.#view?.deref()
    if (present !== undefined) return present
    // Nobody asks for the random name of the document, and drawing one costs more than all the rest.
    const doc = new Y.Doc({ gc: true, guid: '' })
    doc.getMap(rootName)
    applyChains(doc, this.chainsSince(new Map()))
    this.#view = new WeakRef(doc)
    return doc
  }

  #endView(): void {
    this.#view?.deref()?.destroy()
    this.#view = undefined
  }

  /** What this page knows of each client. */
  stateVector(): StateVector {
    return new Map(
      Array.from(this.#byClient, ([client, stored]) => [client, { clock: stored.seq + 1, tag: tagOf(stored) }])
    )
  }

  /** 16 bytes that are equal on two nodes exactly when their pages hold the same values. */
  digest(): Uint8Array {
    this.#digest ??= this.#computeDigest()
    return this.#digest
  }

  #computeDigest(): Uint8Array {
    const sorted = [...this.#byClient.values()].toSorted((a, b) => (a.writer < b.writer ? -1 : 1))
    const parts = sorted.flatMap((stored) => [Buffer.from(`${stored.writer} ${stored.seq} `), hashOf(stored.value)])
    return new Uint8Array(hash('sha256', Buffer.concat(parts), 'buffer').subarray(0, digestBytes))
  }

  #chainFrom(stored: StoredEntry, start: number): Chain {
    const { seq, writer } = stored
    const from = Math.min(start, seq)
    const key: NodeId | undefined = from === 0 ? writer : undefined
    return { client: stored.client, start: from, seq, value: stored.value, key }
  }
}

function applyChains(doc: Y.Doc, chains: readonly Chain[]): void {
  Y.applyUpdate(doc, writeUpdate(chains))
  doc.clientID = sentinelClientId
}

/** The hash of a value, by which digests compare. Not kept: 1.7 us each time, against 100 bytes of memory. */
export function hashOf(value: Uint8Array): Uint8Array {
  return hash('sha256', value, 'buffer')
}

function tagOf(stored: StoredEntry): Uint8Array {
  return new Uint8Array(hashOf(stored.value).subarray(0, tagBytes))
}
