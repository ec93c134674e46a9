import { decode, encode } from '../core/codec.js'
import type { Environment, Timer } from '../core/environment.js'
import { messageOf, MurmurateError } from '../core/errors.js'
import type { NodeId, PageId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import type { Logger } from '../core/logger.js'
import type { KeyPair } from '../identity/keypair.js'
import { SignatureVerifier } from '../identity/signature.js'
import type { Network, Unsubscribe } from '../net/network.js'
import { storedEntry } from './admission.js'
import { clientIdOf, maxEntryBytes, sealEntry, type Entry } from './entry.js'
import { Gossip } from './gossip.js'
import type { LogRecord, RecordLog } from './log.js'
import { Page, type StateVector, type StoredEntry } from './page.js'
import { Policy, type PageKind } from './policy.js'
import { PageStore, type IngestResult } from './store.js'
import { Synchroniser } from './sync.js'
import type { PageUpdate } from './wire.js'
import { writeUpdate } from './yjs-update.js'

/** Settings of the shared document. */
export interface SharedDocumentInit {
  /** Gossip topic of the mesh. */
  readonly topic: string
  /** Updates written within this time are gossiped together, ms. */
  readonly gossipTickMs: number
  /** Time between two anti-entropy rounds, ms. */
  readonly syncPeriodMs: number
  /** A peer that says nothing for this long during a round is given up, ms. */
  readonly syncSilenceMs: number
  /** The log is rewritten when it is larger than this and four times what it holds, bytes. */
  readonly compactAboveBytes: number
}

/** What the shared document is built from. */
export interface SharedDocumentComponents {
  readonly network: Network
  readonly keyPair: KeyPair
  readonly log: RecordLog
  readonly environment: Environment
  readonly logger: Logger
}

/** Hears of new entries, in batches. */
export type EntryListener<Body> = (entries: readonly Entry<Body>[]) => void

interface PendingWrite {
  readonly page: PageId
  readonly body: Uint8Array
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** An entry of this node on its way to the disk. */
interface Draft {
  readonly page: Page
  readonly body: Uint8Array
  readonly stored: StoredEntry
  readonly update: Uint8Array
}

/** The shared document: signed single-writer entries on pages, the same on every node sooner or later. */
export class SharedDocument implements Startable {
  readonly #components: SharedDocumentComponents
  readonly #init: SharedDocumentInit
  readonly #policy = new Policy()
  readonly #store: PageStore
  readonly #gossip: Gossip
  readonly #synchroniser: Synchroniser
  readonly #listeners = new Map<string, Set<EntryListener<unknown>>>()
  #pending: PendingWrite[] = []
  #writing: Promise<void> | undefined
  #flushTimer: Timer | undefined
  #compactedBytes = 0
  #epoch = 0
  #open = false

  constructor(components: SharedDocumentComponents, init: SharedDocumentInit) {
    const { network, environment, logger } = components
    this.#components = components
    this.#init = init
    this.#store = new PageStore(this.#policy, new SignatureVerifier(), logger)
    const ingest = (updates: readonly PageUpdate[], sender: NodeId): IngestResult => this.#ingestFrom(updates, sender)
    this.#gossip = new Gossip(
      { network, environment, logger, ingest },
      { topic: init.topic, tickMs: init.gossipTickMs }
    )
    this.#synchroniser = new Synchroniser(
      { network, environment, logger, store: this.#store, ingest },
      { periodMs: init.syncPeriodMs, silenceMs: init.syncSilenceMs }
    )
  }

  /** Makes a kind of page known; to be called before start. */
  register<Body>(kind: PageKind<Body>): void {
    // The schema of a kind decodes every body that its other functions see, so the type holds.
    this.#policy.register(kind as PageKind)
  }

  /** Loads what is on disk, then takes part in the mesh. The network must be started. */
  async start(): Promise<void> {
    await this.#components.log.open((record) => this.#load(record))
    this.#open = true
    this.#gossip.start()
    this.#synchroniser.start()
  }

  /** Stops taking part; what was written is on disk. */
  async stop(): Promise<void> {
    this.#open = false
    this.#gossip.stop()
    await this.#synchroniser.stop()
    this.#flushTimer?.cancel()
    this.#flushTimer = undefined
    await this.#writing
    await this.#components.log.close()
  }

  /**
   * Writes this node's entry on a page, whole. Resolves when it is on this node's disk; then it is gossiped.
   * Of several writes to one page that wait together, only the last is kept.
   *
   * @throws MurmurateError `NOT_STARTED`, or `INVALID_REQUEST` when the page's kind does not allow the body
   */
  write<Body>(kind: PageKind<Body>, page: PageId, body: Body): Promise<void> {
    if (!this.#open) return Promise.reject(new MurmurateError('NOT_STARTED', 'The shared document is not open'))
    const bytes = encode(body)
    if (bytes.byteLength > maxEntryBytes - 256 || !kind.isPage(page) || !kind.mayWrite(page, this.#writer, body)) {
      const size = `${bytes.byteLength} bytes`
      return Promise.reject(
        new MurmurateError('INVALID_REQUEST', `This node may not write this entry (${size}) on ${page}`)
      )
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#pending.push({ page, body: bytes, resolve, reject })
    this.#run()
    return promise
  }

  /** The entries of a page. */
  entries<Body>(_kind: PageKind<Body>, page: PageId): Entry<Body>[] {
    // Admission decoded every body with the schema of the page's kind.
    return this.#store.entries(page) as Entry<Body>[]
  }

  /** One writer's entry on a page. */
  entry<Body>(_kind: PageKind<Body>, page: PageId, writer: NodeId): Entry<Body> | undefined {
    return this.#store.entryOf(page, clientIdOf(page, writer)) as Entry<Body> | undefined
  }

  /** All entries of a kind. O(document): for start-up and tests; keep an index from `subscribe` otherwise. */
  *all<Body>(kind: PageKind<Body>): Generator<Entry<Body>> {
    for (const page of this.#store.pages()) {
      if (page.id.startsWith(`${kind.name}/`)) yield* this.entries(kind, page.id)
    }
  }

  /** Hears of every new entry of a kind, loaded from disk, written here or received, after it is in place. */
  subscribe<Body>(kind: PageKind<Body>, listener: EntryListener<Body>): Unsubscribe {
    const listeners = this.#listeners.get(kind.name) ?? new Set()
    this.#listeners.set(kind.name, listeners)
    listeners.add(listener as EntryListener<unknown>)
    return () => listeners.delete(listener as EntryListener<unknown>)
  }

  /** Equal on two nodes exactly when they hold the same document; 32 hexadecimal characters. */
  digest(): string {
    return this.#store.digest()
  }

  /** A page as a Yjs V1 update that any Yjs document can apply; undefined when there is no such page. */
  export(page: PageId): Uint8Array | undefined {
    return this.#store.page(page)?.export()
  }

  get #writer(): NodeId {
    return this.#components.keyPair.nodeId
  }

  #load({ page, update }: LogRecord): void {
    const { entries } = this.#store.ingest([{ page, update }])
    for (const entry of entries) if (entry.writer === this.#writer) this.#epoch = Math.max(this.#epoch, entry.epoch)
    this.#emit(entries)
  }

  #ingestFrom(updates: readonly PageUpdate[], sender: NodeId): IngestResult {
    const result = this.#store.ingest(updates)
    for (const update of result.updates) this.#components.log.enqueue(update)
    if (result.updates.length > 0) this.#flushSoon()
    this.#noticeOwn(result.entries)
    this.#emit(result.entries)
    if (result.gap) void this.#synchroniser.syncWith(sender)
    return result
  }

  /** The mesh knew newer entries of this node than its own disk: an old disk came back. */
  #noticeOwn(entries: readonly Entry[]): void {
    const own = entries.filter(({ writer }) => writer === this.#writer)
    if (own.length === 0) return
    this.#epoch = Math.max(this.#epoch, ...own.map(({ epoch }) => epoch)) + 1
    this.#components.logger.warn(
      `the mesh remembers newer entries of this node than its disk; epoch is now ${this.#epoch}`
    )
  }

  #emit(entries: readonly Entry[]): void {
    for (const [kind, listeners] of this.#listeners) {
      const group = entries.filter(({ page }) => page.startsWith(`${kind}/`))
      if (group.length > 0) for (const listener of listeners) listener(group)
    }
  }

  /** Writes in batches, one at a time: sign, disk, page, gossip. No entry is seen by anyone before it is on the disk. */
  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      const batch = this.#pending
      this.#pending = []
      try {
        await this.#commit(new Map(batch.map((write) => [write.page, write.body])))
        for (const write of batch) write.resolve()
      } catch (error) {
        for (const write of batch) write.reject(error)
      }
    }
    await this.#components.log.flush()
    await this.#compact()
  }

  async #commit(bodies: ReadonlyMap<PageId, Uint8Array>): Promise<void> {
    const drafts = Array.from(bodies, ([page, body]) => this.#seal(page, body))
    for (const { page, update } of drafts) this.#components.log.enqueue({ page: page.id, update })
    await this.#components.log.flush()
    const overtaken = drafts.filter(({ page, stored }) => page.known(stored.client) !== stored.entry.seq)
    this.#publish(drafts.filter((draft) => !overtaken.includes(draft)))
    if (overtaken.length > 0) await this.#commit(new Map(overtaken.map(({ page, body }) => [page.id, body])))
  }

  /** Signs a body for this node's next clock on a page. */
  #seal(id: PageId, body: Uint8Array): Draft {
    const { keyPair, environment } = this.#components
    const page = this.#store.page(id) ?? new Page(id)
    const client = clientIdOf(id, this.#writer)
    const position = { page: id, writer: this.#writer, seq: page.known(client) }
    const content = { epoch: this.#epoch, issuedAt: environment.clock.now(), body }
    const value = sealEntry(keyPair, position, content)
    const kind = this.#policy.kindOf(id)
    if (kind === undefined) throw new MurmurateError('INTERNAL', `No room has registered the page ${id}`)
    const decoded = decode(body, kind.schema, { maxBytes: maxEntryBytes, what: `The body for ${id}` })
    const entry = { ...position, epoch: content.epoch, issuedAt: content.issuedAt, body: decoded }
    const key = position.seq === 0 ? this.#writer : undefined
    const update = writeUpdate([{ client, start: position.seq, seq: position.seq, value, key }])
    return { page, body, stored: storedEntry(entry, client, value), update }
  }

  #publish(drafts: readonly Draft[]): void {
    for (const { page, stored } of drafts) this.#store.put(page, [stored])
    this.#gossip.announce(drafts.map(({ page, update }) => ({ page: page.id, update })))
    this.#emit(drafts.map(({ stored }) => stored.entry))
  }

  /** Brings received entries to the disk soon; they are not this node's to lose, so nobody waits for it. */
  #flushSoon(): void {
    this.#flushTimer ??= this.#components.environment.clock.setTimer(this.#init.gossipTickMs, () => {
      this.#flushTimer = undefined
      this.#run()
    })
  }

  #run(): void {
    this.#writing ??= this.#drain()
      .catch((error: unknown) => this.#components.logger.error(`writing the record log failed: ${messageOf(error)}`))
      .finally(() => (this.#writing = undefined))
  }

  /** Rewrites the log when most of it is overwritten values. Runs between commits, so every logged entry is on a page. */
  async #compact(): Promise<void> {
    const { log } = this.#components
    if (log.size < Math.max(this.#init.compactAboveBytes, 4 * this.#compactedBytes)) return
    const empty: StateVector = new Map()
    await log.replace(Array.from(this.#store.pages()).flatMap(({ id }) => this.#store.updatesSince(id, empty)))
    this.#compactedBytes = log.size
  }
}
