import type { Doc } from 'yjs'
import type { Environment, Timer } from '../core/environment.js'
import { MurmurateError } from '../core/errors.js'
import type { NodeId, PageId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import { Listeners } from '../core/listeners.js'
import type { Logger } from '../core/logger.js'
import { openAuthority, type Authority } from '../identity/authority.js'
import type { KeyPair } from '../identity/keypair.js'
import { SignatureVerifier } from '../identity/signature.js'
import type { Network, Unsubscribe } from '../net/network.js'
import { Author } from './author.js'
import type { PeerConduct } from './conduct.js'
import { clientIdOf, type Entry } from './entry.js'
import type { EntryLog, LogRecord } from './entry-log.js'
import type { Evidence, EvidenceListener } from './evidence.js'
import { Policy, type PageKind } from './policy.js'
import type { RecordView } from './record-view.js'
import { Replication, type ReplicationInit } from './replication.js'
import { PageStore, type IngestResult } from './store.js'
import { checkedValue } from './value.js'
import { packed, type PageUpdate } from './wire.js'

/** Settings of the shared document. */
export interface SharedDocumentInit extends ReplicationInit {
  /** The log is rewritten when it is larger than this and four times what it holds, bytes. */
  readonly compactAboveBytes: number
}

/** What the shared document is built from. */
export interface SharedDocumentComponents {
  readonly network: Network
  readonly keyPair: KeyPair
  readonly log: EntryLog
  /** Who may write what. @default everybody everything */
  readonly authority?: Authority
  /** Verifies the signatures of entries. @default one of its own */
  readonly verifier?: SignatureVerifier
  readonly environment: Environment
  readonly logger: Logger
}

/** Hears, in batches, of new entries and of those that left the document: the fleet root does not permit them any more, or their writer has too many pages. */
export type EntryListener<Body> = (entries: readonly Entry<Body>[], removed: readonly Entry<Body>[]) => void

/** Headers of a record in a batch from the log. */
const recordHeadBytes = 16

/** The shared document: signed single-writer entries on pages, the same on every node sooner or later. */
export class SharedDocument implements Startable, RecordView {
  readonly #components: SharedDocumentComponents
  readonly #init: SharedDocumentInit
  readonly #authority: Authority
  readonly #policy: Policy
  readonly #store: PageStore
  readonly #replication: Replication
  readonly #listeners = new Map<string, Listeners<[entries: readonly Entry[], removed: readonly Entry[]]>>()
  readonly #author: Author
  #flushTimer: Timer | undefined
  #stopRevising: Unsubscribe | undefined
  /** Ends the verification of what came in; a new one for each start. */
  #abort = new AbortController()
  #open = false

  constructor(components: SharedDocumentComponents, init: SharedDocumentInit) {
    const { network, keyPair, log, environment, logger } = components
    this.#components = components
    this.#init = init
    this.#authority = components.authority ?? openAuthority
    this.#policy = new Policy(this.#authority)
    this.#store = new PageStore(this.#policy, components.verifier ?? new SignatureVerifier(environment), logger)
    this.#replication = new Replication(
      {
        network,
        environment,
        logger,
        store: this.#store,
        ingest: (updates) => this.#ingest(updates),
        ingestBatch: (updates) => this.#ingestBatch(updates)
      },
      init
    )
    this.#author = new Author(
      {
        keyPair,
        log,
        environment,
        logger,
        store: this.#store,
        policy: this.#policy,
        publish: (updates, entries) => {
          this.#replication.announce(updates)
          this.#emit(entries)
        }
      },
      init.compactAboveBytes
    )
  }

  /** Makes a kind of page known; to be called before start. */
  register<Body>(kind: PageKind<Body>): void {
    // The schema of a kind decodes every body that its other functions see, so the type holds.
    this.#policy.register(kind as PageKind)
  }

  /** Loads what is on disk, then takes part in the mesh. Best before the network starts: then no peer asks in vain. */
  async start(): Promise<void> {
    if (this.#open) return
    this.#abort = new AbortController()
    await this.#load(this.#abort.signal)
    this.#author.start()
    this.#open = true
    this.#stopRevising = this.#authority.onChange(() => this.#revise())
    try {
      this.#replication.start()
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  /** Before the network stops: what this node wrote last reaches a peer, if one is linked. Harmless at any time. */
  async farewell(): Promise<void> {
    await this.#author.idle()
    await this.#replication.farewell()
  }

  /** Stops taking part; what was written is on disk. */
  async stop(): Promise<void> {
    this.#open = false
    this.#abort.abort(new MurmurateError('ABORTED', 'The shared document stops'))
    this.#stopRevising?.()
    this.#flushTimer?.cancel()
    this.#flushTimer = undefined
    await this.#author.idle()
    await this.#replication.stop()
    await this.#components.log.close()
  }

  /**
   * Writes this node's entry on a page, whole. Resolves when it is on this node's disk; then it is gossiped.
   * Of several writes to one page that wait together, only the last is kept. On an immutable page, writing what is there
   * does nothing.
   *
   * @throws MurmurateError `NOT_STARTED`; `NOT_PERMITTED` when the fleet root does not let this node; `INVALID_REQUEST` when the page's kind does not allow the body or
   * this node has as many pages of the kind as one writer may; `CONFLICT` when the
   * page is immutable and this node wrote another body; `INSUFFICIENT_STORAGE` or `DATA_DIR_UNREADABLE` when the disk fails
   */
  async write<Body>(kind: PageKind<Body>, page: PageId, body: Body): Promise<void> {
    if (!this.#open) throw new MurmurateError('NOT_STARTED', 'The shared document is not open')
    await this.#author.write(checkedValue({ kind, page, body }, this.#components.keyPair.nodeId, this.#policy))
  }

  /**
   * Before work that ends with a write.
   *
   * @throws MurmurateError `NOT_PERMITTED` when the fleet root does not let this node write the page
   */
  assertMayWrite(kind: Pick<PageKind, 'role'>, page: PageId): void {
    this.#policy.assertPermits(kind, page, this.#components.keyPair.nodeId)
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
    const listeners = this.#listeners.get(kind.name) ?? new Listeners(`${kind.name} entries`, this.#components.logger)
    this.#listeners.set(kind.name, listeners)
    return listeners.add(listener as EntryListener<unknown>)
  }

  /** The pages that hold an entry, in ascending order. */
  pages(): PageId[] {
    return Array.from(this.#store.pages(), ({ id }) => id).sort()
  }

  /** Equal on two nodes exactly when they hold the same document under the same fleet root; 32 hexadecimal characters. */
  digest(): string {
    return this.#store.digest(this.#authority.id)
  }

  /** What each peer did wrong here, of the peers that did: at most 1024. */
  conduct(): readonly PeerConduct[] {
    return this.#replication.conduct()
  }

  /** A page as a Yjs V1 update that any Yjs document can apply; undefined when there is no such page. */
  export(page: PageId): Uint8Array | undefined {
    return this.#store.page(page)?.export()
  }

  /**
   * A page as a Yjs document that follows it, for whatever reads Yjs; undefined when there is no such page. It is destroyed when
   * entries leave the page or are replaced at their clock: then ask for another one. What is written to it goes nowhere.
   */
  view(page: PageId): Doc | undefined {
    return this.#store.page(page)?.view()
  }

  /** What proves that writers signed two values for one clock, as far as this process has met it; at most 64. */
  evidence(): readonly Evidence[] {
    return this.#store.evidence()
  }

  /** Hears of new evidence; `isEvidence` verifies it anywhere. */
  onEvidence(listener: EvidenceListener): Unsubscribe {
    return this.#store.onEvidence(listener)
  }

  async #load(signal: AbortSignal): Promise<void> {
    const records: LogRecord[] = []
    await this.#components.log.open((record) => records.push(record))
    for (const batch of packed(records, ({ update }) => update.byteLength + recordHeadBytes)) {
      const { entries, removed } = await this.#store.ingestBatch(batch, signal)
      this.#author.loaded(entries)
      this.#emit(entries, removed)
    }
  }

  /** Another fleet root: some of what is here may not stay, and some of what was left out may be had from the peers. */
  #revise(): void {
    const removed = this.#store.revise()
    if (removed.length > 0) this.#emit([], removed)
    this.#replication.askAgain()
  }

  /** At once, because gossip asks for its verdict. */
  #ingest(updates: readonly PageUpdate[]): IngestResult | undefined {
    return this.#open ? this.#took(this.#store.ingest(updates)) : undefined
  }

  /** Resolves when the peer may send more. */
  async #ingestBatch(updates: readonly PageUpdate[]): Promise<IngestResult | undefined> {
    const { signal } = this.#abort
    return this.#open ? this.#took(await this.#store.ingestBatch(updates, signal)) : undefined
  }

  #took(result: IngestResult): IngestResult {
    for (const update of result.updates) this.#components.log.enqueue(update)
    if (result.updates.length > 0) this.#flushSoon()
    this.#author.received(result.entries)
    this.#emit(result.entries, result.removed)
    return result
  }

  #emit(entries: readonly Entry[], removed: readonly Entry[] = []): void {
    for (const [kind, listeners] of this.#listeners) {
      const isOfKind = ({ page }: Entry): boolean => page.startsWith(`${kind}/`)
      const [came, went] = [entries.filter(isOfKind), removed.filter(isOfKind)]
      if (came.length + went.length > 0) listeners.tell(came, went)
    }
  }

  /** Brings received entries to the disk soon; they are not this node's to lose, so nobody waits for it. */
  #flushSoon(): void {
    this.#flushTimer ??= this.#components.environment.clock.setTimer(this.#init.gossipTickMs, () => {
      this.#flushTimer = undefined
      this.#author.run()
    })
  }
}
