import { createHash } from 'node:crypto'
import * as Y from 'yjs'
import { equalBytes } from '../core/codec.js'
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
  const [a, b] = [candidate.entry, present.entry]
  if (a.seq !== b.seq) return a.seq > b.seq
  if (a.epoch !== b.epoch) return a.epoch > b.epoch
  return Buffer.compare(candidate.valueHash, present.valueHash) > 0
}

/**
 * One Yjs document with one map: key = writer, value = the writer's whole signed entry.
 * Takes only what admission has verified.
 */
export class Page {
  readonly id: PageId
  /** Undefined when a value was replaced at its clock, which Yjs cannot do: then it is made anew when asked for. */
  #doc: Y.Doc | undefined = newDoc()
  readonly #byClient = new Map<number, StoredEntry>()
  #digest: Uint8Array | undefined

  constructor(id: PageId) {
    this.id = id
  }

  /** The number of values known of a client; its next clock. */
  known(client: number): number {
    const stored = this.#byClient.get(client)
    return stored === undefined ? 0 : stored.entry.seq + 1
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
    if (entries.some(({ client, entry }) => entry.seq < this.known(client))) this.#doc = undefined
    const chains = entries.map((stored) => this.#chainFrom(stored, this.known(stored.client)))
    if (this.#doc !== undefined) applyChains(this.#doc, chains)
    for (const stored of entries) this.#byClient.set(stored.client, stored)
    this.#digest = undefined
  }

  /** Takes entries away, as if they had never been here. Yjs cannot forget a writer: its document is made anew when needed. */
  remove(entries: readonly StoredEntry[]): void {
    if (entries.length === 0) return
    for (const { client } of entries) this.#byClient.delete(client)
    this.#doc = undefined
    this.#digest = undefined
  }

  /** Everything that a holder of this state vector lacks, oldest client first. */
  chainsSince(vector: StateVector): Chain[] {
    const missing: Chain[] = []
    for (const stored of this.#byClient.values()) {
      const { seq } = stored.entry
      const theirs = vector.get(stored.client)
      if (theirs === undefined || theirs.clock <= seq) missing.push(this.#chainFrom(stored, theirs?.clock ?? 0))
      else if (theirs.clock === seq + 1 && !equalBytes(theirs.tag, tagOf(stored)))
        missing.push(this.#chainFrom(stored, seq))
    }
    return missing
  }

  /** The whole page as one update for any Yjs document. */
  export(): Uint8Array {
    if (this.#doc === undefined) {
      this.#doc = newDoc()
      applyChains(this.#doc, this.chainsSince(new Map()))
    }
    return Y.encodeStateAsUpdate(this.#doc)
  }

  /** What this page knows of each client. */
  stateVector(): StateVector {
    return new Map(
      Array.from(this.#byClient, ([client, stored]) => [client, { clock: stored.entry.seq + 1, tag: tagOf(stored) }])
    )
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
    const { seq, writer } = stored.entry
    const from = Math.min(start, seq)
    const key: NodeId | undefined = from === 0 ? writer : undefined
    return { client: stored.client, start: from, seq, value: stored.value, key }
  }
}

function newDoc(): Y.Doc {
  // Nobody asks for the random name of the document, and drawing one costs more than all the rest: 60 us.
  const doc = new Y.Doc({ gc: true, guid: '' })
  doc.clientID = sentinelClientId
  doc.getMap(rootName)
  return doc
}

function applyChains(doc: Y.Doc, chains: readonly Chain[]): void {
  Y.applyUpdate(doc, writeUpdate(chains))
  doc.clientID = sentinelClientId
}

function tagOf(stored: StoredEntry): Uint8Array {
  return stored.valueHash.subarray(0, tagBytes)
}
