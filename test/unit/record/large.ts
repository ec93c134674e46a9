import { createHash } from 'node:crypto'
import { encode } from '../../../src/core/codec.js'
import type { PageId } from '../../../src/core/ids.js'
import { SignatureVerifier } from '../../../src/identity/signature.js'
import { nodeIdOf } from '../../../src/identity/node-id.js'
import { MemoryHub, MemoryNetwork } from '../../../src/net/memory-network.js'
import { answerSync, initiateSync, syncProtocol } from '../../../src/record/anti-entropy.js'
import { bucketPage } from '../../../src/record/bucket.js'
import { DeclinedBook } from '../../../src/record/declined.js'
import { clientIdOf } from '../../../src/record/entry.js'
import { Knowledge } from '../../../src/record/knowledge.js'
import type { StoredEntry } from '../../../src/record/page.js'
import type { RoundResult, SyncComponents } from '../../../src/record/side.js'
import type { PageStore } from '../../../src/record/store.js'
import { maxMessageBytes } from '../../../src/record/wire.js'
import { writeUpdate } from '../../../src/record/yjs-update.js'
import { virtualEnvironment, type VirtualClock } from '../../support/virtual-clock.js'
import { makeStore } from './fixtures.js'
import type { VirtualMesh } from './mesh.js'

/** As many bytes of text as make a body of about 60 bytes. */
const text = 'x'.repeat(50)

class TrustingVerifier extends SignatureVerifier {
  override verify(): boolean {
    return true
  }
}

/** Entries of the writers with these numbers, at this clock. Their signatures are not good: for stores that trust everybody. */
export function entriesOf(first: number, count: number, seq: number): PlacedEntry[] {
  return Array.from({ length: count }, (_, at) => {
    const writer = nodeIdOf(
      createHash('sha256')
        .update(`writer ${first + at}`)
        .digest()
    )
    const page = bucketPage('note', writer)
    const signature = createHash('sha512')
      .update(`${first + at} ${seq}`)
      .digest()
    return { page, writer, seq, client: clientIdOf(page, writer), value: valueOf({ epoch: 1, text, signature }) }
  })
}

/** An entry and the page that it is for. */
export type PlacedEntry = StoredEntry & { readonly page: PageId }

/** A value with any signature. */
export function valueOf(content: {
  readonly epoch: number
  readonly text: string
  readonly signature: Uint8Array
}): Uint8Array {
  // 0xe8 0x07 is 1000, when it was issued.
  return Uint8Array.of(...content.signature, content.epoch, 0xe8, 0x07, ...encode({ text: content.text }))
}

/** A store that trusts everybody and holds these entries. */
export function trustingStore(...entries: readonly (readonly PlacedEntry[])[]): PageStore {
  const store = makeStore(undefined, new TrustingVerifier())
  for (const group of entries) {
    const byPage = new Map<PageId, StoredEntry[]>()
    for (const stored of group) {
      const { page } = stored
      byPage.set(page, byPage.get(page) ?? [])
      byPage.get(page)?.push(stored)
    }
    for (const [page, stored] of byPage) store.put(page, stored)
  }
  return store
}

/** Bytes of entries as their writers would gossip them. */
export function bytesOf(entries: readonly PlacedEntry[]): number {
  const sizes = entries.map(
    ({ client, seq, writer, value }) => writeUpdate([{ client, start: seq, seq, value, key: writer }]).byteLength
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** Two stores and a link between them, of which the bytes are counted. */
export class Pair {
  readonly environment: VirtualMesh['environment']
  readonly stores: readonly [PageStore, PageStore]
  readonly #networks: readonly [MemoryNetwork, MemoryNetwork]
  readonly #declined = [new DeclinedBook(), new DeclinedBook()] as const
  /** Frames so far, of both sides. */
  frames = 0
  /** Largest frame so far. */
  largestBytes = 0

  private constructor(
    environment: VirtualMesh['environment'],
    stores: readonly [PageStore, PageStore],
    networks: readonly [MemoryNetwork, MemoryNetwork]
  ) {
    this.environment = environment
    this.stores = stores
    this.#networks = networks
    networks[1].serve(
      syncProtocol,
      (channel) => answerSync(this.#components(1), channel, new AbortController().signal),
      { maxFrameBytes: maxMessageBytes }
    )
  }

  static async of(one: PageStore, two: PageStore): Promise<Pair> {
    const environment = virtualEnvironment(1)
    const hub = new MemoryHub({ environment })
    const [a, b] = [0, 1].map((number) => new MemoryNetwork({ nodeId: nodeIdOf(Buffer.alloc(32, number)), hub }))
    if (a === undefined || b === undefined) throw new Error('unreachable')
    const pair = new Pair(environment, [one, two], [a, b])
    a.start()
    b.start()
    await environment.clock.advance(100)
    return pair
  }

  get clock(): VirtualClock {
    return this.environment.clock
  }

  /** Bytes that went over the link, both ways. */
  get bytes(): number {
    return this.#networks[0].traffic().sentBytes + this.#networks[1].traffic().sentBytes
  }

  get areEqual(): boolean {
    return this.stores[0].digest() === this.stores[1].digest()
  }

  /** A round that the first begins; it can be cut off after a number of frames to it. */
  async round(cutAfterFrames = Infinity): Promise<RoundResult> {
    const [one, two] = this.#networks
    const channel = await this.clock.run(one.open(two.nodeId, syncProtocol, { maxFrameBytes: maxMessageBytes }))
    let left = cutAfterFrames
    const counted = {
      peer: channel.peer,
      send: (parts: readonly Uint8Array[]): Promise<void> => channel.send(parts),
      close: (): Promise<void> => channel.close(),
      abort: (reason: Error): void => channel.abort(reason),
      frames: async function* (this: void): AsyncGenerator<Uint8Array> {
        for await (const frame of channel.frames()) {
          count(frame.byteLength)
          if (left-- <= 0) throw new Error('cut')
          yield frame
        }
      }
    }
    const count = (bytes: number): void => {
      this.frames += 1
      this.largestBytes = Math.max(this.largestBytes, bytes)
    }
    const round = initiateSync(this.#components(0), counted, new AbortController().signal)
    try {
      return await this.clock.run(round)
    } finally {
      channel.abort(new Error('over'))
    }
  }

  #components(side: 0 | 1): SyncComponents {
    const store = this.stores[side]
    const { clock, random } = this.environment
    const knowledge = new Knowledge(store, this.#declined[side])
    const ingest: SyncComponents['ingest'] = (updates) => {
      const result = store.ingest(updates)
      this.#declined[side].add(result.declined)
      return Promise.resolve(result)
    }
    return { clock, random, store, knowledge, silenceMs: 10_000, ingest }
  }
}
