/** What an entry of 60 bytes costs on a page, after overwrites and after restarts of every writer. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { systemEnvironment } from '../../src/core/environment.js'
import { silentLogger } from '../../src/core/logger.js'
import { parsePageId } from '../../src/core/ids.js'
import type { KeyPair } from '../../src/identity/keypair.js'
import { MemoryHub, MemoryNetwork } from '../../src/net/memory-network.js'
import type { EntryLog, LogRecord } from '../../src/record/entry-log.js'
import { RecordLog } from '../../src/record/log.js'
import type { PageKind } from '../../src/record/policy.js'
import { SharedDocument } from '../../src/record/shared-document.js'
import { documentInit } from './corpus.js'
import { rounded } from './usage.js'

const bodySchema = z.object({ text: z.string() })
const kind: PageKind<z.infer<typeof bodySchema>> = {
  name: 'size',
  maxPagesPerWriter: 1,
  schema: bodySchema,
  isPage: () => true,
  mayWrite: () => true
}
const page = parsePageId('size/a')
/** DAG-CBOR of `{ text }` has 8 bytes more than the text. */
const body = { text: 'x'.repeat(52) }

/** A log in memory: thousands of writes are to be counted here, not timed. */
class ArrayLog implements EntryLog {
  readonly size = 0
  readonly failure = undefined
  #records: LogRecord[] = []

  open(onRecord: (record: LogRecord) => void): Promise<void> {
    for (const record of this.#records) onRecord(record)
    return Promise.resolve()
  }

  enqueue(record: LogRecord): void {
    // Each write holds the whole value, so the last one and where the chain began are all that is needed.
    this.#records = [...this.#records.slice(0, 1), record]
  }

  flush(): Promise<void> {
    return Promise.resolve()
  }

  replace(records: readonly LogRecord[]): Promise<void> {
    this.#records = [...records]
    return Promise.resolve()
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

/** A writer whose process can end and begin again. */
class Writer {
  readonly #keyPair: KeyPair
  readonly #log = new ArrayLog()
  document: SharedDocument | undefined

  constructor(keyPair: KeyPair) {
    this.#keyPair = keyPair
  }

  async restart(): Promise<SharedDocument> {
    await this.document?.stop()
    this.document = makeDocument(this.#keyPair, this.#log)
    await this.document.start()
    return this.document
  }
}

function makeDocument(keyPair: KeyPair, log: EntryLog): SharedDocument {
  const environment = systemEnvironment
  const network = new MemoryNetwork({ nodeId: keyPair.nodeId, hub: new MemoryHub({ environment }) })
  const components = { network, keyPair, log, environment, logger: silentLogger }
  const document = new SharedDocument(components, { ...documentInit, compactAboveBytes: Infinity })
  document.register(kind)
  return document
}

/** Bytes an entry, exported and in the log after it was compacted. */
export interface EntrySize {
  readonly exported: number
  readonly logged: number
}

/** Lets every writer write so often, and restart before each write or not; everything is then on one page. */
export async function measureSize(
  keyPairs: readonly KeyPair[],
  { writes, restarts, directory }: { readonly writes: number; readonly restarts: boolean; readonly directory: string }
): Promise<EntrySize> {
  const updates: LogRecord[] = []
  for (const writer of keyPairs.map((keyPair) => new Writer(keyPair))) {
    let document = await writer.restart()
    for (let count = 0; count < writes; count++) {
      if (restarts) document = await writer.restart()
      await document.write(kind, page, body)
    }
    updates.push({ page, update: document.export(page) ?? new Uint8Array() })
    await document.stop()
  }
  return sizeOfAll(updates, keyPairs, join(directory, `size-${writes}-${restarts}`))
}

/** Loads everything into one document, which compacts its log at the first occasion. */
async function sizeOfAll(
  updates: readonly LogRecord[],
  keyPairs: readonly KeyPair[],
  path: string
): Promise<EntrySize> {
  const [reader] = keyPairs
  if (reader === undefined) throw new Error('There are no writers')
  const log = new RecordLog(path, new Uint8Array(32))
  await log.open(() => {})
  await log.replace(updates)
  await log.close()
  const document = makeDocument(reader, log)
  await document.start()
  const whole = document.export(page) ?? new Uint8Array()
  await log.replace([{ page, update: whole }])
  await document.stop()
  const per = (bytes: number): number => rounded(bytes / keyPairs.length, 1)
  return { exported: per(whole.byteLength), logged: per((await stat(path)).size) }
}
