/**
 * Two nodes make their documents equal, whatever was lost before.
 *
 * ```
 * initiator -> responder   digests+      what I have, a digest a page
 * responder -> initiator   vectors+      for the pages that differ and whose kind I know: what I know of each writer there
 * initiator -> responder   updates* vectors+   what you lack; what I know
 * responder -> initiator   updates* done       what you lack
 * ```
 * A state vector carries a tag of each writer's last value, so that two values for one clock are noticed too.
 * Cost: equal documents exchange one digest a page; else O(writers of the pages that differ) + what differs.
 */
import { withDeadline } from '../core/abort.js'
import { equalBytes } from '../core/codec.js'
import type { Clock } from '../core/environment.js'
import { MurmurateError } from '../core/errors.js'
import type { PageId } from '../core/ids.js'
import type { Channel } from '../net/network.js'
import type { Known, StateVector } from './page.js'
import type { PageStore } from './store.js'
import { decodeSync, encodeSync, maxPackedBytes, packed, type PageUpdate, type SyncMessage } from './wire.js'

/** The protocol that a node serves for it. */
export const syncProtocol = '/murmurate/sync/1'

/** What a round needs. */
export interface SyncComponents {
  readonly clock: Clock
  readonly store: PageStore
  /** Takes what the peer sent. */
  readonly ingest: (updates: readonly PageUpdate[]) => void
  /** A peer that says nothing or takes nothing for this long is given up, ms. */
  readonly silenceMs: number
}

/** At most this many messages and an empty last one make up one list: 16 MiB hold 300 000 digests or 500 000 writers. */
const maxListMessages = 64
/** A larger page's vector goes out in pieces. */
const maxPieceWriters = 4096
/** Largest encoding of one writer: two clocks of 9 bytes, a tag of 9, the list around them. */
const rowBytes = 28

type Vectors = ReadonlyMap<PageId, StateVector>
const noVector: StateVector = new Map()

/** Runs a round that this node began. */
export async function initiateSync(components: SyncComponents, channel: Channel, signal: AbortSignal): Promise<void> {
  const round = new Round(components, channel, signal)
  await round.sendDigests()
  const theirs = await round.receiveVectors()
  await round.sendUpdates(theirs)
  await round.sendVectors([...theirs.keys()].filter((page) => components.store.knows(page)))
  await round.receiveUntilDone()
}

/** Answers a round that the peer began. */
export async function answerSync(components: SyncComponents, channel: Channel, signal: AbortSignal): Promise<void> {
  const round = new Round(components, channel, signal)
  const digests = await round.receiveDigests()
  const pages = differing(components.store.digests(), digests)
  await round.sendVectors(pages.filter((page) => components.store.knows(page)))
  const theirs = await round.receiveVectors()
  await round.sendUpdates(theirs)
  await round.send({ type: 'done' })
}

/** The pages that are not the same on both sides. */
function differing(ours: ReadonlyMap<PageId, Uint8Array>, theirs: ReadonlyMap<PageId, Uint8Array>): PageId[] {
  const pages = new Set([...ours.keys(), ...theirs.keys()])
  return [...pages].filter((page) => {
    const [a, b] = [ours.get(page), theirs.get(page)]
    return a === undefined || b === undefined || !equalBytes(a, b)
  })
}

/** The vector of a page, in parts that fit a message; one empty part for a page that is not here. */
function pieces(page: PageId, vector: StateVector): (readonly [PageId, StateVector])[] {
  if (vector.size <= maxPieceWriters) return [[page, vector]]
  const rows = [...vector]
  const parts = Array.from({ length: Math.ceil(rows.length / maxPieceWriters) }, (_, at) =>
    rows.slice(at * maxPieceWriters, (at + 1) * maxPieceWriters)
  )
  return parts.map((part) => [page, new Map(part)])
}

class Round {
  readonly #components: SyncComponents
  readonly #channel: Channel
  readonly #signal: AbortSignal
  readonly #frames: AsyncIterator<Uint8Array>

  constructor(components: SyncComponents, channel: Channel, signal: AbortSignal) {
    this.#components = components
    this.#channel = channel
    this.#signal = signal
    this.#frames = channel.frames()[Symbol.asyncIterator]()
  }

  async send(message: SyncMessage): Promise<void> {
    const { clock, silenceMs } = this.#components
    const send = (signal: AbortSignal): Promise<void> => this.#channel.send([encodeSync(message)], { signal })
    await withDeadline(clock, silenceMs, send, { signal: this.#signal, what: 'Sending a sync message' })
  }

  async sendDigests(): Promise<void> {
    const groups = packed([...this.#components.store.digests()], ([page]) => page.length + 24, maxPackedBytes)
    for (const digests of groups) await this.send({ type: 'digests', digests, last: false })
    await this.send({ type: 'digests', digests: [], last: true })
  }

  async sendVectors(pages: readonly PageId[]): Promise<void> {
    const vectors = pages.flatMap((page) => pieces(page, this.#components.store.page(page)?.stateVector() ?? noVector))
    const groups = packed(vectors, ([page, vector]) => page.length + 16 + vector.size * rowBytes, maxPackedBytes)
    for (const group of groups) await this.send({ type: 'vectors', vectors: group, last: false })
    await this.send({ type: 'vectors', vectors: [], last: true })
  }

  async sendUpdates(theirs: Vectors): Promise<void> {
    for (const [page, vector] of theirs) {
      for (const update of this.#components.store.updatesSince(page, vector)) {
        await this.send({ type: 'updates', updates: [update] })
      }
    }
  }

  async receiveDigests(): Promise<Map<PageId, Uint8Array>> {
    const digests = new Map<PageId, Uint8Array>()
    for (let count = 0; ; count++) {
      const message = await this.#receive()
      if (message.type !== 'digests' || count > maxListMessages) throw unexpected(message)
      for (const [page, digest] of message.digests) digests.set(page, digest)
      if (message.last) return digests
    }
  }

  /** Vectors, and before them the updates that the peer found missing here. */
  async receiveVectors(): Promise<Vectors> {
    const vectors = new Map<PageId, Map<number, Known>>()
    for (let count = 0; ;) {
      const message = await this.#receive()
      if (message.type === 'updates') {
        this.#components.ingest(message.updates)
        continue
      }
      if (message.type !== 'vectors' || count++ > maxListMessages) throw unexpected(message)
      for (const [page, part] of message.vectors) addTo(vectors, page, part)
      if (message.last) return vectors
    }
  }

  async receiveUntilDone(): Promise<void> {
    for (;;) {
      const message = await this.#receive()
      if (message.type === 'done') return
      if (message.type !== 'updates') throw unexpected(message)
      this.#components.ingest(message.updates)
    }
  }

  async #receive(): Promise<SyncMessage> {
    const { clock, silenceMs } = this.#components
    const next = (): Promise<IteratorResult<Uint8Array>> => this.#frames.next()
    const frame = await withDeadline(clock, silenceMs, next, { signal: this.#signal, what: 'A sync message' })
    if (frame.done === true) throw new MurmurateError('NETWORK_ERROR', `${this.#channel.peer} ended the sync too early`)
    return decodeSync(frame.value)
  }
}

/** A page's vector comes in parts. Added in place: a copy for each part would let a peer make the work quadratic. */
function addTo(vectors: Map<PageId, Map<number, Known>>, page: PageId, part: StateVector): void {
  const vector = vectors.get(page) ?? new Map<number, Known>()
  for (const [client, known] of part) vector.set(client, known)
  vectors.set(page, vector)
}

function unexpected(message: SyncMessage): MurmurateError {
  return new MurmurateError('MALFORMED', `A sync message of type "${message.type}" came out of turn`)
}
