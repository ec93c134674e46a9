import { createHash } from 'node:crypto'
import * as Y from 'yjs'
import type { NodeId, PageId } from '../core/ids.js'
import type { Entry } from './entry.js'
import { rootName, writeUpdate, type Chain } from './yjs-update.js'

/** Yjs changes a document's client id when it meets its own in an update; between writes it holds this one, which nobody has. */
const sentinelClientId = 0
const digestBytes = 16

/** A verified entry with what is needed to pass it on. */
export interface StoredEntry {
  readonly entry: Entry
  readonly client: number
  /** The signed bytes as they came. */
  readonly value: Uint8Array
  readonly valueHash: Uint8Array
}

/** How far a page knows each client: client id -> number of values, as in Yjs. */
export type StateVector = ReadonlyMap<number, number>

/**
 * One Yjs document with one map: key = writer, value = the writer's whole signed entry.
 * Takes only what admission has verified.
 */
export class Page {
  readonly id: PageId
  readonly #doc = new Y.Doc({ gc: true })
  readonly #byClient = new Map<number, StoredEntry>()
  #digest: Uint8Array | undefined

  constructor(id: PageId) {
    this.id = id
    this.#doc.clientID = sentinelClientId
    this.#doc.getMap(rootName)
  }

  /** The number of values known of a client; its next clock. */
  known(client: number): number {
    const stored = this.#byClient.get(client)
    return stored === undefined ? 0 : stored.entry.seq + 1
  }

  /** The present entry of a client. */
  get(client: number): StoredEntry | undefined {
    return this.#byClient.get(client)
  }

  /** All present entries. */
  stored(): IterableIterator<StoredEntry> {
    return this.#byClient.values()
  }

  /** Puts verified entries in place, all in one Yjs transaction. Each must be newer than what is known of its client. */
  apply(entries: readonly StoredEntry[]): void {
    if (entries.length === 0) return
    const chains = entries.map((stored) => this.#chainFrom(stored, this.known(stored.client)))
    Y.applyUpdate(this.#doc, writeUpdate(chains))
    this.#doc.clientID = sentinelClientId
    for (const stored of entries) this.#byClient.set(stored.client, stored)
    this.#digest = undefined
  }

  /** Everything that a holder of this state vector lacks, oldest client first. */
  chainsSince(vector: StateVector): Chain[] {
    const missing: Chain[] = []
    for (const stored of this.#byClient.values()) {
      const start = vector.get(stored.client) ?? 0
      if (start <= stored.entry.seq) missing.push(this.#chainFrom(stored, start))
    }
    return missing
  }

  /** The whole page as one update for any Yjs document. */
  export(): Uint8Array {
    return Y.encodeStateAsUpdate(this.#doc)
  }

  /** What this page knows of each client. */
  stateVector(): StateVector {
    return new Map(Array.from(this.#byClient, ([client, stored]) => [client, stored.entry.seq + 1]))
  }

  /** 16 bytes that are equal on two nodes exactly when their pages hold the same values. */
  digest(): Uint8Array {
    this.#digest ??= this.#computeDigest()
    return this.#digest
  }

  #computeDigest(): Uint8Array {
    const hash = createHash('sha256')
    const sorted = [...this.#byClient.values()].toSorted((a, b) => (a.entry.writer < b.entry.writer ? -1 : 1))
    for (const { entry, valueHash } of sorted) hash.update(`${entry.writer} ${entry.seq} `).update(valueHash)
    return new Uint8Array(hash.digest().subarray(0, digestBytes))
  }

  #chainFrom(stored: StoredEntry, start: number): Chain {
    const key: NodeId | undefined = start === 0 ? stored.entry.writer : undefined
    return { client: stored.client, start, seq: stored.entry.seq, value: stored.value, key }
  }
}
