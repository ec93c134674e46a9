import type { Clock, Random } from '../core/environment.js'
import { messageOf, MurmurateError } from '../core/errors.js'
import type { NodeId, PageId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import { equalBytes } from '../core/codec.js'
import type { KeyPair } from '../identity/keypair.js'
import { clientIdOf, openEntry, sealEntry, type Entry } from './entry.js'
import type { EntryLog } from './entry-log.js'
import type { StoredEntry } from './page.js'
import type { PageKind, Policy } from './policy.js'
import type { PageStore } from './store.js'
import type { Value } from './value.js'
import type { PageUpdate } from './wire.js'
import { writeUpdate } from './yjs-update.js'

/** What the author needs. */
export interface AuthorComponents {
  readonly keyPair: KeyPair
  readonly log: EntryLog
  readonly environment: { readonly clock: Clock; readonly random: Random }
  readonly logger: Logger
  readonly store: PageStore
  readonly policy: Policy
  /** Takes entries of this node that are on the disk and on their pages. */
  readonly publish: (updates: readonly PageUpdate[], entries: readonly Entry[]) => void
}

interface PendingWrite extends Value {
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** An entry of this node on its way to the disk. */
interface Draft {
  readonly write: PendingWrite
  readonly entry: Entry
  readonly stored: StoredEntry
  readonly update: PageUpdate
}

/** The step of the epoch at a start is below this: the same disk restored twice repeats an epoch once in 16 million times. */
const epochStep = 2 ** 24
/** After the disk has failed, it is tried again at most this often, ms. */
const mendPauseMs = 1000

/** Signs and writes this node's own entries, and keeps the log in order: one batch at a time, on the disk before anyone sees it. */
export class Author {
  readonly #components: AuthorComponents
  readonly #compactAboveBytes: number
  /** What this process wrote last, by page. */
  readonly #written = new Map<PageId, Value>()
  #pending: PendingWrite[] = []
  /** Pages with a value on its way to the disk. */
  readonly #underWay = new Set<PageId>()
  #running: Promise<void> | undefined
  #compactedBytes = 0
  #epoch = 0
  #mendAt = -Infinity

  /** @param compactAboveBytes - the log is rewritten when it is larger than this and four times what it holds */
  constructor(components: AuthorComponents, compactAboveBytes: number) {
    this.#components = components
    this.#compactAboveBytes = compactAboveBytes
  }

  /** Begins a new epoch, above all that this node is known to have used. */
  start(): void {
    this.#written.clear()
    this.#compactedBytes = 0
    this.#epoch += 1 + Math.floor(this.#components.environment.random.float() * epochStep)
  }

  /** Resolves when nothing waits any more. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  /** Resolves when the value is on the disk, on its page and with the gossip. */
  write(value: Value): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#pending.push({ ...value, resolve, reject })
    this.run()
    return promise
  }

  /** Brings what waits to the disk. */
  run(): void {
    this.#running ??= this.#drain().finally(() => {
      this.#running = undefined
      // Written while the last steps of the drain ran.
      if (this.#pending.length > 0) this.run()
    })
  }

  /** Learns of entries that were loaded from disk. */
  loaded(entries: readonly Entry[]): void {
    for (const { epoch } of this.#own(entries)) this.#epoch = Math.max(this.#epoch, epoch)
  }

  /**
   * Learns of entries that the mesh had: when some are this node's, an old disk came back, or the key is in two places.
   * What this process has written since is written again above them; once, so that two nodes with one key do not go on
   * like that for ever.
   */
  received(entries: readonly Entry[]): void {
    const own = this.#own(entries)
    if (own.length === 0) return
    this.#epoch = Math.max(this.#epoch, ...own.map(({ epoch }) => epoch)) + 1
    this.#components.logger.warn(
      `the mesh knows entries of this node that it has not: a restored disk, or another node with its key; epoch ${this.#epoch}`
    )
    for (const { page } of own) {
      const value = this.#written.get(page)
      // A newer value that is under way goes above them anyway, and must not be overwritten by the one before.
      if (value !== undefined && !this.#isBeingWritten(page)) void this.#writeAgain(value)
    }
  }

  #isBeingWritten(page: PageId): boolean {
    return this.#underWay.has(page) || this.#pending.some((write) => write.page === page)
  }

  #own(entries: readonly Entry[]): Entry[] {
    return entries.filter(({ writer }) => writer === this.#writer)
  }

  async #writeAgain(value: Value): Promise<void> {
    try {
      await this.write(value)
    } catch (error) {
      this.#components.logger.error(`${value.page} was overtaken and not written again: ${messageOf(error)}`)
    }
    this.#written.delete(value.page)
  }

  get #writer(): NodeId {
    return this.#components.keyPair.nodeId
  }

  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      const batch = this.#pending
      this.#pending = []
      await this.#settle(batch)
    }
    try {
      await this.#mend()
      await this.#components.log.flush()
      await this.#compact()
    } catch (error) {
      this.#components.logger.error(`writing the record log failed: ${messageOf(error)}`)
    }
  }

  async #settle(batch: readonly PendingWrite[]): Promise<void> {
    for (const { page } of batch) this.#underWay.add(page)
    const failures = new Map<PageId, unknown>()
    try {
      await this.#mend()
      await this.#commit(this.#lastOfEachPage(batch), failures)
      for (const { page, resolve, reject } of batch) {
        if (failures.has(page)) reject(failures.get(page))
        else resolve()
      }
    } catch (error) {
      for (const write of batch) write.reject(error)
    } finally {
      this.#underWay.clear()
    }
  }

  /** Of several values for one page only the last is kept; on an immutable page the first, and other ones are refused. */
  #lastOfEachPage(batch: readonly PendingWrite[]): PendingWrite[] {
    const kept = new Map<PageId, PendingWrite>()
    for (const write of batch) {
      const before =
        write.kind.immutable === true ? (kept.get(write.page)?.bytes ?? this.#present(write.page)) : undefined
      if (before === undefined) kept.set(write.page, write)
      else if (!equalBytes(before, write.bytes)) {
        write.reject(new MurmurateError('CONFLICT', `${write.page} has another content already`))
      }
    }
    return [...kept.values()]
  }

  /** The body of this node's entry on a page, as it was signed. */
  #present(page: PageId): Uint8Array | undefined {
    const stored = this.#components.store.page(page)?.get(clientIdOf(page, this.#writer))
    return stored === undefined ? undefined : openEntry(stored.value).body
  }

  /** What goes wrong with one page is noted, and is not the fault of what is written with it. */
  async #commit(writes: readonly PendingWrite[], failures: Map<PageId, unknown>): Promise<void> {
    const { log } = this.#components
    const drafts: Draft[] = []
    for (const write of writes) {
      const draft = tryAlone(failures, write.page, () => this.#seal(write, drafts))
      if (draft !== undefined) drafts.push(draft)
    }
    for (const { update } of drafts) log.enqueue(update)
    if (drafts.length > 0) await log.flush()
    const permitted = drafts.filter(({ write: { kind, page } }) =>
      // Another fleet root may have come into force while the disk was busy.
      tryAlone(failures, page, () => this.#assertPermitted(kind, page))
    )
    const overtaken = permitted.filter(({ stored, update }) => this.#nextClock(update.page) !== stored.seq)
    this.#publish(
      permitted.filter((draft) => !overtaken.includes(draft)),
      failures
    )
    const again = writes.filter(({ page }) => overtaken.some(({ write }) => write.page === page))
    if (again.length > 0) await this.#commit(this.#lastOfEachPage(again), failures)
  }

  #assertPermitted(kind: PageKind, page: PageId): true {
    this.#components.policy.assertPermits(kind, page, this.#writer)
    return true
  }

  /** Signs a value for this node's next clock on its page, with what will be written before it. */
  #seal(write: PendingWrite, before: readonly Draft[]): Draft {
    const { keyPair, environment, store } = this.#components
    const { page, bytes, kind } = write
    const begun = before.filter((draft) => draft.write.kind === kind && draft.stored.seq === 0)
    store.quota.assertRoom(
      kind,
      { id: page, writer: this.#writer, client: clientIdOf(page, this.#writer) },
      begun.length
    )
    const client = clientIdOf(page, this.#writer)
    const position = { page, writer: this.#writer, seq: this.#nextClock(page) }
    const [epoch, issuedAt] = [this.#epoch, Math.max(0, Math.floor(environment.clock.now()))]
    const value = sealEntry(keyPair, position, { epoch, issuedAt, body: bytes })
    const key = position.seq === 0 ? this.#writer : undefined
    const update = writeUpdate([{ client, start: position.seq, seq: position.seq, value, key }])
    const entry = { ...position, epoch, issuedAt, body: write.body }
    return {
      write,
      entry,
      stored: { client, writer: this.#writer, seq: position.seq, value },
      update: { page, update }
    }
  }

  #nextClock(page: PageId): number {
    return this.#components.store.page(page)?.known(clientIdOf(page, this.#writer)) ?? 0
  }

  #publish(drafts: readonly Draft[], failures: Map<PageId, unknown>): void {
    const placed = drafts.filter((draft) => tryAlone(failures, draft.write.page, () => this.#place(draft)) === true)
    if (placed.length === 0) return
    const entries = placed.map(({ entry }) => entry)
    this.#components.publish(
      placed.map(({ update }) => update),
      entries
    )
  }

  #place({ write, stored }: Draft): true {
    this.#components.store.put(write.page, [stored])
    this.#written.set(write.page, write)
    this.#underWay.delete(write.page)
    return true
  }

  /** After a failed write nobody knows what the file holds: it is written anew from memory before anything is added. */
  async #mend(): Promise<void> {
    const { log, environment, logger } = this.#components
    if (log.failure === undefined) return
    if (environment.clock.monotonic() < this.#mendAt) throw log.failure
    this.#mendAt = environment.clock.monotonic() + mendPauseMs
    await this.#rewrite()
    logger.info('the record log takes entries again')
  }

  /** Rewrites the log when most of it is overwritten values. Runs between commits, so every logged entry is on a page. */
  async #compact(): Promise<void> {
    const { log } = this.#components
    if (log.size >= Math.max(this.#compactAboveBytes, 4 * this.#compactedBytes)) await this.#rewrite()
  }

  async #rewrite(): Promise<void> {
    const { log, store } = this.#components
    await log.replace(Array.from(store.pages()).flatMap(({ id }) => store.updatesSince(id, new Map())))
    this.#compactedBytes = log.size
  }
}

function tryAlone<Result>(failures: Map<PageId, unknown>, page: PageId, step: () => Result): Result | undefined {
  try {
    return step()
  } catch (error) {
    failures.set(page, error)
    return undefined
  }
}
