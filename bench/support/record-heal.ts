/** What it costs two nodes to become equal after a partition in which each side has gone on. */
import { systemEnvironment } from '../../src/core/environment.js'
import { silentLogger } from '../../src/core/logger.js'
import { recordLogKey, type KeyPair } from '../../src/identity/keypair.js'
import { MemoryHub, MemoryNetwork } from '../../src/net/memory-network.js'
import { RecordLog } from '../../src/record/log.js'
import { SharedDocument } from '../../src/record/shared-document.js'
import { writeUpdate } from '../../src/record/yjs-update.js'
import { chainOf, documentInit, kinds, makeDocument, statusValue } from './corpus.js'
import { settled } from './usage.js'

/** Bytes of healing, and of what had changed. */
export interface Heal {
  readonly bytes: number
  readonly changedBytes: number
}

/** One side of the partition: a node whose disk holds the document and its side's changes. */
class Side {
  readonly document: SharedDocument
  readonly network: MemoryNetwork
  readonly log: RecordLog

  constructor(keyPair: KeyPair, hub: MemoryHub, path: string) {
    this.network = new MemoryNetwork({ nodeId: keyPair.nodeId, hub })
    this.log = new RecordLog(path, recordLogKey(keyPair))
    const components = { network: this.network, keyPair, log: this.log, environment: systemEnvironment }
    this.document = new SharedDocument({ ...components, logger: silentLogger }, documentInit)
    for (const kind of kinds) this.document.register(kind)
  }
}

/** Lets 1 % of the statuses change, half of them on each side, and then the two sides meet. */
export async function measureHeal(writers: readonly KeyPair[], directory: string): Promise<Heal> {
  const hub = new MemoryHub({ environment: systemEnvironment })
  const document = makeDocument(writers, { models: 1 })
  const changes = writers
    .slice(0, writers.length / 100)
    .map((writer) => ({ value: statusValue(writer, 0, 1), writer }))
    .map(({ value, writer }) => ({ page: value.page, update: writeUpdate([chainOf(writer, value, 1)]) }))
  const sides = writers.slice(-2).map((keyPair, at) => new Side(keyPair, hub, `${directory}/heal-${at}`))
  for (const [at, { log }] of sides.entries()) {
    await log.open(() => {})
    await log.replace([...document, ...changes.filter((_, number) => number % 2 === at)])
    await log.close()
  }
  for (const side of sides) await side.document.start()
  for (const { network } of sides) network.start()
  await settled(() => new Set(sides.map((side) => side.document.digest())).size === 1)
  const bytes = sides.reduce((sum, { network }) => sum + network.traffic().sentBytes, 0)
  for (const side of sides) await side.document.stop()
  for (const { network } of sides) network.stop()
  return { bytes, changedBytes: changes.reduce((sum, { update }) => sum + update.byteLength, 0) }
}
