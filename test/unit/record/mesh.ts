import '../../../src/core/polyfill.js'
import { sleep, type Clock, type Environment } from '../../../src/core/environment.js'
import { MurmurateError } from '../../../src/core/errors.js'
import type { PageId } from '../../../src/core/ids.js'
import { silentLogger, type Logger } from '../../../src/core/logger.js'
import { openAuthority, type Authority } from '../../../src/identity/authority.js'
import type { SignedRoot } from '../../../src/identity/fleet-root.js'
import type { KeyPair } from '../../../src/identity/keypair.js'
import type { SignatureVerifier } from '../../../src/identity/signature.js'
import type { MemoryHubInit } from '../../../src/net/memory-air.js'
import { MemoryHub, MemoryNetwork } from '../../../src/net/memory-network.js'
import type { EntryLog, LogRecord } from '../../../src/record/entry-log.js'
import type { PageKind } from '../../../src/record/policy.js'
import type { RootStorage } from '../../../src/record/root-file.js'
import { RootKeeper, type RootKeeperInit } from '../../../src/record/root-keeper.js'
import { SharedDocument, type SharedDocumentInit } from '../../../src/record/shared-document.js'
import { VirtualClock, virtualEnvironment } from '../../support/virtual-clock.js'
import { keyPairOf, noteKind, notePage, stoneKind, type Note } from './fixtures.js'

/** What survives a restart of a node; `imageOf` makes an image of it. */
export interface Disk {
  records: LogRecord[]
  /** While set, every sync fails. */
  failure?: MurmurateError | undefined
  /** How long a sync takes, ms of the clock. */
  syncMs: number
  /** The fleet roots that the node keeps. */
  roots?: readonly SignedRoot[]
}

/** The disk as it is at this moment; what a node writes later is not on it. */
export function imageOf(disk: Disk): Disk {
  return { ...disk, records: disk.records.slice() }
}

/** A log on such a disk: each sync takes a moment, so that things happen meanwhile. */
class MemoryLog implements EntryLog {
  failure: MurmurateError | undefined
  readonly #clock: Clock
  readonly #disk: Disk
  #queue: LogRecord[] = []
  #tail: Promise<void> = Promise.resolve()
  #open = false
  #size = 0

  constructor(clock: Clock, disk: Disk) {
    this.#clock = clock
    this.#disk = disk
  }

  get size(): number {
    return this.#size
  }

  open(onRecord: (record: LogRecord) => void): Promise<void> {
    this.#queue = []
    this.failure = undefined
    this.#open = true
    this.#size = sizeOf(this.#disk.records)
    for (const record of this.#disk.records) onRecord(record)
    return Promise.resolve()
  }

  enqueue(record: LogRecord): void {
    this.#queue.push(record)
  }

  async flush(): Promise<void> {
    if (!this.#open) throw new MurmurateError('NOT_STARTED', 'The log is not open')
    const batch = this.#queue
    if (batch.length > 0) this.#next(batch, () => this.#append(batch))
    await this.#tail
    if (this.failure !== undefined) throw this.failure
  }

  async replace(records: readonly LogRecord[]): Promise<void> {
    const batch = this.#queue
    this.#queue = []
    this.failure = undefined
    this.#next(batch, () => this.#put(records))
    await this.#tail
    if (this.failure !== undefined) throw this.failure
  }

  async close(): Promise<void> {
    if (this.#open) await this.flush().finally(() => (this.#open = false))
  }

  #append(records: readonly LogRecord[]): void {
    this.#disk.records.push(...records)
    this.#size += sizeOf(records)
  }

  #put(records: readonly LogRecord[]): void {
    this.#disk.records = [...records]
    this.#size = sizeOf(records)
  }

  #next(batch: readonly LogRecord[], write: () => void): void {
    this.#tail = this.#tail.then(async () => {
      if (this.#queue === batch) this.#queue = []
      await sleep(this.#clock, this.#disk.syncMs)
      this.failure ??= this.#disk.failure
      if (this.failure === undefined) write()
    })
  }
}

function sizeOf(records: readonly LogRecord[]): number {
  return records.reduce((sum, { update }) => sum + update.byteLength, 0)
}

/** Settings of a node in a test. */
export interface NodeOptions {
  readonly disk?: Disk
  readonly log?: EntryLog
  readonly logger?: Logger
  readonly init?: Partial<SharedDocumentInit>
  /** The fleet that the node belongs to; none: everybody may do everything. */
  readonly fleet?: RootKeeperInit
  /** Who may do what, in place of a fleet. */
  readonly authority?: Authority
  /** A node of an older version, which knows only notes. */
  readonly isOld?: boolean
  /** The number of the key that its links have, when it is not that of its entries. */
  readonly networkNumber?: number
  /** Time and chance of its own. */
  readonly environment?: Environment
  readonly verifier?: SignatureVerifier
  /** More kinds of pages than notes and stones. */
  readonly kinds?: readonly PageKind<Note>[]
}

/** A node that is nothing but a shared document. */
export interface RecordNode {
  /** The number of its key. */
  readonly number: number
  readonly keyPair: KeyPair
  readonly network: MemoryNetwork
  /** Keeps the fleet root, if there is one. */
  readonly root: RootKeeper | undefined
  readonly authority: Authority
  readonly document: SharedDocument
  readonly disk: Disk
  start(): Promise<void>
  stop(): Promise<void>
}

export const recordTopic = 'test/record'
/** Gossip that loses everything: what arrives came by anti-entropy. */
export const deaf = { gossipLoss: 1 }

/** Writes a note. */
export function write(node: RecordNode, text: string, page: PageId = notePage): Promise<void> {
  return node.document.write(noteKind, page, { text })
}

/** Nodes around one hub; the seed decides everything on a virtual clock. */
export class Mesh<Env extends Environment> {
  readonly environment: Env
  readonly hub: MemoryHub

  constructor(environment: Env, air: Omit<MemoryHubInit, 'environment'> = {}) {
    this.environment = environment
    this.hub = new MemoryHub({ environment, ...air })
  }

  /** A node with the key of this number; one that is made again with the same disk is the same node, restarted. */
  async node(number: number, options: NodeOptions = {}): Promise<RecordNode> {
    const { hub } = this
    const environment = options.environment ?? this.environment
    const keyPair = await keyPairOf(number)
    const { nodeId } = await keyPairOf(options.networkNumber ?? number)
    const network = new MemoryNetwork({ nodeId, hub })
    const disk = options.disk ?? emptyDisk()
    const log = options.log ?? new MemoryLog(environment.clock, disk)
    const logger = options.logger ?? silentLogger
    const storage = memoryRoots(disk)
    const root =
      options.fleet === undefined ? undefined : new RootKeeper({ network, storage, environment, logger }, options.fleet)
    const authority = root ?? options.authority ?? openAuthority
    const document = new SharedDocument(
      {
        network,
        keyPair,
        log,
        authority,
        environment,
        logger,
        ...(options.verifier === undefined ? {} : { verifier: options.verifier })
      },
      {
        topic: recordTopic,
        gossipTickMs: 100,
        syncPeriodMs: 15_000,
        syncSilenceMs: 5000,
        compactAboveBytes: 1_000_000,
        ...options.init
      }
    )
    document.register(noteKind)
    if (options.isOld !== true) document.register(stoneKind)
    for (const kind of options.kinds ?? []) document.register(kind)
    return {
      number,
      keyPair,
      network,
      root,
      authority,
      document,
      disk,
      async start() {
        network.start()
        await root?.start()
        await document.start()
      },
      async stop() {
        await document.stop()
        await root?.stop()
        network.stop()
      }
    }
  }
}

/** Roots kept on such a disk; what was kept is verified by the keeper's own tests. */
function memoryRoots(disk: Disk): RootStorage {
  return {
    load: () => Promise.resolve(disk.roots ?? []),
    save: (roots) => {
      if (disk.failure !== undefined) return Promise.reject(disk.failure)
      disk.roots = roots
      return Promise.resolve()
    }
  }
}

export function emptyDisk(): Disk {
  return { records: [], syncMs: 1 }
}

export type VirtualMesh = Mesh<Environment & { readonly clock: VirtualClock }>

/** A mesh on a virtual clock. */
export function virtualMesh(seed: number, air: Omit<MemoryHubInit, 'environment'> = {}): VirtualMesh {
  return new Mesh(virtualEnvironment(seed), air)
}

/** The texts of a page of notes, sorted. */
export function textsOf(node: RecordNode, page = noteKind.name): string[] {
  const kind = page === stoneKind.name ? stoneKind : noteKind
  return Array.from(node.document.all(kind), ({ body }) => body.text).sort()
}

/** Whether all nodes hold the same document. */
export function agree(nodes: readonly RecordNode[]): boolean {
  return new Set(nodes.map(({ document }) => document.digest())).size === 1
}

/** Nodes 0, 1, ... that run and are linked; at least the two that most tests need are typed as there. */
export async function started(
  mesh: VirtualMesh,
  count: number,
  options: NodeOptions = {}
): Promise<[RecordNode, RecordNode, ...RecordNode[]]> {
  const nodes = await Promise.all(Array.from({ length: count }, (_, number) => mesh.node(number, options)))
  for (const node of nodes) await node.start()
  await mesh.environment.clock.advance(200)
  return nodes as [RecordNode, RecordNode, ...RecordNode[]]
}

/** The same node again, from its disk, as after the end of its process. */
export async function restart(mesh: VirtualMesh, node: RecordNode, disk = node.disk): Promise<RecordNode> {
  await mesh.environment.clock.run(node.stop())
  const again = await mesh.node(node.number, { disk })
  await again.start()
  await mesh.environment.clock.advance(500)
  return again
}
