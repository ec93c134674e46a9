import type { MurmurateError } from '../core/errors.js'
import type { PageId } from '../core/ids.js'

/** One page update, as it is kept. */
export interface LogRecord {
  readonly page: PageId
  readonly update: Uint8Array
  /** Only of what is handed out: it is as it was put there by this node, which had verified it. @default false */
  readonly isVerified?: boolean
}

/** Where the shared document keeps what it holds. One process and one instance at a time. */
export interface EntryLog {
  /** Bytes that it takes. */
  readonly size: number
  /** Why nothing is taken any more: a write or sync failed, and no `replace` has succeeded since. */
  readonly failure: MurmurateError | undefined
  /**
   * Opens it and hands out every intact record in the order it was written; what is torn or rotten is cut off.
   *
   * @throws MurmurateError `DATA_DIR_UNREADABLE` or `INSUFFICIENT_STORAGE`
   */
  open(onRecord: (record: LogRecord) => void): Promise<void>
  /** Adds a record to the next sync without asking for one. */
  enqueue(record: LogRecord): void
  /**
   * Resolves when everything enqueued so far survives a power cut.
   *
   * @throws MurmurateError `NOT_STARTED` when it is not open, else its `failure`
   */
  flush(): Promise<void>
  /**
   * Replaces everything; a crash leaves either the old or the new. The records must cover everything that was enqueued
   * before this call; what is enqueued after it is added to the new. Mends a log that takes nothing any more.
   */
  replace(records: readonly LogRecord[]): Promise<void>
  /** Writes what is queued and frees it. Harmless when never opened. */
  close(): Promise<void>
}
