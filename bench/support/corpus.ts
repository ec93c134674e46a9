/** The document of a large mesh, for benches: every node describes itself and says where it stands with some models. */
import '../../src/core/polyfill.js'
import { createHash } from 'node:crypto'
import { encode } from '../../src/core/codec.js'
import { parseCid, parseModelId, parseVariantId, parseVersion, type PageId } from '../../src/core/ids.js'
import { silentLogger } from '../../src/core/logger.js'
import { nodeKind } from '../../src/fleet/membership.js'
import { keyPairFromSeed, type KeyPair } from '../../src/identity/keypair.js'
import { SignatureVerifier } from '../../src/identity/signature.js'
import { updatesOf } from '../../src/record/chains.js'
import { bucketPage } from '../../src/record/bucket.js'
import { clientIdOf, sealEntry } from '../../src/record/entry.js'
import { Policy, type PageKind } from '../../src/record/policy.js'
import type { SharedDocumentInit } from '../../src/record/shared-document.js'
import { PageStore } from '../../src/record/store.js'
import type { PageUpdate } from '../../src/record/wire.js'
import type { Chain } from '../../src/record/yjs-update.js'
import { statusKind, statusPage } from '../../src/rollout/status.js'

/** Settings as a node has them by default, but for the topic. */
export const documentInit: SharedDocumentInit = {
  topic: 'bench',
  gossipTickMs: 100,
  syncPeriodMs: 20_000,
  syncSilenceMs: 10_000,
  compactAboveBytes: 4_194_304
}

/** The kinds of pages in the corpus. */
export const kinds = [nodeKind as PageKind, statusKind as PageKind]

/** A time that all entries were issued at. */
const issuedAt = 1_750_000_000_000
const version = parseVersion('4.2.1')
const release = parseCid('bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy')

/** Different keys, the same ones for the same number. */
export function makeWriters(count: number): Promise<KeyPair[]> {
  const seedOf = (number: number): Uint8Array => createHash('sha256').update(`bench ${number}`).digest()
  return Promise.all(Array.from({ length: count }, (_, number) => keyPairFromSeed(seedOf(number))))
}

/** One value of a writer. */
export interface Value {
  readonly page: PageId
  readonly seq: number
  /** DAG-CBOR. */
  readonly body: Uint8Array
}

/** A signed value; `start` is the first clock that it tells of. */
export function chainOf(writer: KeyPair, { page, seq, body }: Value, start = 0): Chain {
  const content = { epoch: 12_345_678, issuedAt, body }
  const value = sealEntry(writer, { page, writer: writer.nodeId, seq }, content)
  const key = start === 0 ? writer.nodeId : undefined
  return { client: clientIdOf(page, writer.nodeId), start, seq, value, key }
}

/** A status as a node writes it when all went well. */
export function statusValue(writer: KeyPair, model: number, seq = 0): Value {
  const steps = ['downloading', 'staged', 'loading', 'operational'] as const
  const body = encode({
    current: { version, variant: parseVariantId('fp16-cuda'), release },
    target: null,
    phase: 'operational',
    attempt: 1,
    since: issuedAt + seq,
    history: steps.map((phase, at) => ({ phase, version, at: issuedAt + at })),
    ran: [version]
  })
  return { page: statusPage(parseModelId(`model-${model}`), writer.nodeId), seq, body }
}

/** What a node says of itself. */
function nodeValue(writer: KeyPair): Value {
  const capabilities = { cpuArch: 'x64', cpuCores: 8, memoryMb: 16_000, storageMb: 200_000, gpus: [] }
  const body = encode({ name: 'edge-box', capabilities, formations: ['east'], labels: {}, software: '0.1.0' })
  return { page: bucketPage('node', writer.nodeId), seq: 0, body }
}

/** The whole document: updates as anti-entropy sends them, at most 252 KiB each. */
export function makeDocument(writers: readonly KeyPair[], { models, seq = 0 }: DocumentShape): PageUpdate[] {
  const chains = new Map<PageId, Chain[]>()
  const add = (writer: KeyPair, value: Value): void => {
    const page = chains.get(value.page) ?? []
    chains.set(value.page, page)
    page.push(chainOf(writer, value))
  }
  for (const writer of writers) {
    if (models > 1) add(writer, nodeValue(writer))
    for (let model = 0; model < models; model++) add(writer, statusValue(writer, model, seq))
  }
  return [...chains].flatMap(([page, list]) => updatesOf(page, list))
}

/** How large a document is. */
export interface DocumentShape {
  /** Statuses of each node; above 1, each node describes itself too. */
  readonly models: number
  /** How often each status was overwritten. */
  readonly seq?: number
}

/** An empty document in memory. */
export function makeStore(extra: readonly PageKind[] = []): PageStore {
  const policy = new Policy()
  for (const kind of [...kinds, ...extra]) policy.register(kind)
  return new PageStore(policy, new SignatureVerifier(), silentLogger)
}
