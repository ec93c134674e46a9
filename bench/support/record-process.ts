/** A process with a large document: what it costs to take in, to load, to hold and to keep up to date. */
import { verify, type KeyObject, createPublicKey, sign } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { systemEnvironment } from '../../src/core/environment.js'
import { silentLogger } from '../../src/core/logger.js'
import { recordLogKey, type KeyPair } from '../../src/identity/keypair.js'
import { MemoryHub, MemoryNetwork } from '../../src/net/memory-network.js'
import type { GossipMessage, GossipVerdict } from '../../src/net/network.js'
import { RecordLog } from '../../src/record/log.js'
import { SharedDocument } from '../../src/record/shared-document.js'
import { encodeUpdates, packed, type PageUpdate } from '../../src/record/wire.js'
import { writeUpdate } from '../../src/record/yjs-update.js'
import { chainOf, documentInit, kinds, makeDocument, makeStore, makeWriters, statusValue } from './corpus.js'
import { answer } from './child.js'
import { median, usage } from './usage.js'

/** As many verifications wait for the thread pool at a time as murmurate lets wait. */
const inFlight = 256
const bytesPerMb = 1e6

/** A document on a network of its own, whose gossip the bench hands in. */
class Held {
  readonly document: SharedDocument
  #hear: (message: GossipMessage) => GossipVerdict = () => 'ignore'

  constructor(keyPair: KeyPair, path: string) {
    const environment = systemEnvironment
    const network = new MemoryNetwork({ nodeId: keyPair.nodeId, hub: new MemoryHub({ environment }) })
    network.subscribe = (_topic, handler) => {
      this.#hear = handler
      return () => {}
    }
    const log = new RecordLog(path, recordLogKey(keyPair))
    this.document = new SharedDocument({ network, keyPair, log, environment, logger: silentLogger }, documentInit)
    for (const kind of kinds) this.document.register(kind)
  }

  hear(message: GossipMessage): GossipVerdict {
    return this.#hear(message)
  }
}

let held: Held | undefined

const calls = {
  /** Writes the document that a node has on its disk: all of it verified by that node. */
  prepare: async (path: string, nodes: number, models: number): Promise<void> => {
    const writers = await makeWriters(nodes)
    const log = new RecordLog(path, recordLogKey(firstOf(writers)))
    await log.open(() => {})
    await log.replace(makeDocument(writers, { models, seq: 1 }))
    await log.close()
  },

  /** Entries a second of first statuses that were never seen, the rate of bare verification, and that of the same again. */
  ingest: async (path: string, nodes: number): Promise<Ingest> => {
    const writers = await makeWriters(nodes)
    const updates = makeDocument(writers, { models: 1 })
    const batches = [...packed(updates, ({ update }) => update.byteLength + 64)]
    const { ceilingPerSecond, ceilingCpuUs } = await bareRate(writers)
    const store = makeStore()
    const log = new RecordLog(path, new Uint8Array(32))
    await log.open(() => {})
    const take = async (): Promise<number> => {
      const begin = performance.now()
      for (const batch of batches) {
        const result = await store.ingestBatch(batch)
        for (const kept of result.updates) log.enqueue(kept)
      }
      return (nodes / (performance.now() - begin)) * 1000
    }
    const cpuBegin = usage().cpuS
    const perSecond = await take()
    const cpuUs = ((usage().cpuS - cpuBegin) / nodes) * 1e6
    if (countOf(store.pages()) !== nodes) throw new Error('Not every status was admitted')
    const again: number[] = []
    for (let round = 0; round < 5; round++) again.push(await take())
    await log.close()
    return { perSecond, cpuUs, ceilingPerSecond, ceilingCpuUs, duplicatePerSecond: median(again) }
  },

  /** Starts from what `prepare` wrote: the time, and the memory of everything in this process. */
  load: async (path: string): Promise<Loaded> => {
    const [self] = await makeWriters(1)
    if (self === undefined) throw new Error('There are no writers')
    const before = memory()
    held = new Held(self, path)
    const [begin, cpuBegin] = [performance.now(), usage().cpuS]
    await held.document.start()
    const loadMs = performance.now() - begin
    const loadCpuMs = (usage().cpuS - cpuBegin) * 1000
    held.document.digest()
    const emptyMb = before.heapMb + before.externalMb
    return { loadMs, loadCpuMs, ...memory(), emptyMb, verifyUs: bareVerifyUs(self) }
  },

  /**
   * Microseconds of one status of another node in a gossip message, until the verdict: parsed, verified, in place, told. What is
   * taken stays on the disk, so each time needs a higher clock.
   */
  updates: async (nodes: number, count: number, seq: number): Promise<number> => {
    const writers = await makeWriters(nodes)
    if (held === undefined) throw new Error('Nothing was loaded')
    let heard = 0
    for (const kind of kinds) held.document.subscribe(kind, (entries) => void (heard += entries.length))
    const sender = firstOf(writers).nodeId
    const times: number[] = []
    for (let number = 0; number < count; number++) {
      const writer = writers[1 + ((number * 7) % (nodes - 1))] ?? firstOf(writers)
      const value = statusValue(writer, number % 5, seq)
      const update: PageUpdate = { page: value.page, update: writeUpdate([chainOf(writer, value, seq)]) }
      const data = encodeUpdates([update])
      const begin = performance.now()
      held.hear({ sender, data })
      times.push((performance.now() - begin) * 1000)
    }
    if (heard !== count) throw new Error(`${heard} of ${count} updates were taken`)
    await held.document.stop()
    return median(times)
  }
}

/** What taking in a whole state costs, entries a second. */
export interface Ingest {
  readonly perSecond: number
  /** CPU of all threads for an entry, and for a bare verification: what counts when others want the same cores. */
  readonly cpuUs: number
  readonly ceilingCpuUs: number
  readonly ceilingPerSecond: number
  readonly duplicatePerSecond: number
}

/** What loading cost, and what is held. */
export interface Loaded {
  readonly loadMs: number
  /** CPU of all threads: what counts when other processes want the same cores. */
  readonly loadCpuMs: number
  readonly heapMb: number
  readonly externalMb: number
  /** Both together before anything was loaded. */
  readonly emptyMb: number
  /** One bare verification on this thread, for comparison with an update. */
  readonly verifyUs: number
}

function firstOf(writers: readonly KeyPair[]): KeyPair {
  const [first] = writers
  if (first === undefined) throw new Error('There are no writers')
  return first
}

function countOf(pages: Iterable<{ stored(): Iterable<unknown> }>): number {
  return [...pages].reduce((sum, page) => sum + [...page.stored()].length, 0)
}

/** Live memory of JavaScript objects and of their buffers, MB. */
function memory(): { readonly heapMb: number; readonly externalMb: number } {
  for (let round = 0; round < 3; round++) globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return { heapMb: heapUsed / bytesPerMb, externalMb: external / bytesPerMb }
}

/** Signatures of so many keys, ready to be verified, as fast as `node:crypto` can on its threads. Verifications a second. */
async function bareRate(writers: readonly KeyPair[]): Promise<Pick<Ingest, 'ceilingPerSecond' | 'ceilingCpuUs'>> {
  const message = Buffer.alloc(450, 7)
  const claims = writers.map(({ privateKey }) => ({
    key: createPublicKey(privateKey),
    signature: sign(null, message, privateKey)
  }))
  const [begin, cpuBegin] = [performance.now(), usage().cpuS]
  const entries = claims.values()
  const lane = async (): Promise<void> => {
    for (const { key, signature } of entries) await verifyAside(message, key, signature)
  }
  await Promise.all(Array.from({ length: inFlight }, lane))
  return {
    ceilingPerSecond: (claims.length / (performance.now() - begin)) * 1000,
    ceilingCpuUs: ((usage().cpuS - cpuBegin) / claims.length) * 1e6
  }
}

function bareVerifyUs({ privateKey }: KeyPair): number {
  const [key, message] = [createPublicKey(privateKey), Buffer.alloc(450, 7)]
  const signature = sign(null, message, privateKey)
  const times = Array.from({ length: 1000 }, () => {
    const begin = performance.now()
    verify(null, message, key, signature)
    return (performance.now() - begin) * 1000
  })
  return median(times)
}

function verifyAside(message: Uint8Array, key: KeyObject, signature: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    verify(null, message, key, signature, (error, isRight) => {
      if (error === null && isRight) resolve()
      else reject(new Error('A right signature did not verify'))
    })
  })
}

/** What the bench can ask of such a process. */
export type RecordCalls = typeof calls

answer(calls)
