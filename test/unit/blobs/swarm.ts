/** A few nodes on a network in memory, each with its own store, for tests. */
import '../../../src/core/polyfill.js'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemEnvironment } from '../../../src/core/environment.js'
import type { Cid, NodeId } from '../../../src/core/ids.js'
import { silentLogger } from '../../../src/core/logger.js'
import { keyPairFromSeed } from '../../../src/identity/keypair.js'
import { MemoryHub } from '../../../src/net/memory-hub.js'
import { MemoryNetwork } from '../../../src/net/memory-network.js'
import type { BlobStore } from '../../../src/blobs/blob-store.js'
import { Blobs } from '../../../src/blobs/blobs.js'
import type { BlobsInit } from '../../../src/blobs/defaults.js'
import type { TransferListener } from '../../../src/blobs/transfer-meter.js'
import { FsBlobStore } from '../../../src/blobs/fs-blob-store.js'
import { seededBytes } from '../../support/safetensors.js'

/** A running node. */
export interface SwarmNode {
  readonly nodeId: NodeId
  readonly network: MemoryNetwork
  readonly store: BlobStore
  readonly blobs: Blobs
  /** What it warned of. */
  readonly warnings: readonly string[]
}

/** How to make a node. */
export interface NodeOptions {
  readonly store?: BlobStore
  readonly init?: BlobsInit
  readonly capacityBytes?: number
  readonly onTransfer?: TransferListener
}

/** Short waits, so that tests are quick. */
const quick: BlobsInit = { retryMs: 100, stallMs: 200, tickMs: 50, haveDelayMs: 20 }

export class Swarm {
  readonly hub: MemoryHub
  readonly directory: string
  readonly #nodes: SwarmNode[] = []
  #count = 0

  private constructor(directory: string, latencyMs: readonly [number, number]) {
    this.directory = directory
    this.hub = new MemoryHub({ environment: systemEnvironment, latencyMs })
  }

  static async create(latencyMs: readonly [number, number] = [0, 1]): Promise<Swarm> {
    return new Swarm(await mkdtemp(join(tmpdir(), 'murmurate-swarm-')), latencyMs)
  }

  /** A network for a peer that is not one of ours. */
  async network(): Promise<MemoryNetwork> {
    const seed = seededBytes(`node ${this.#count++}`, 32)
    const network = new MemoryNetwork({ nodeId: (await keyPairFromSeed(seed)).nodeId, hub: this.hub })
    network.start()
    return network
  }

  /** The store of a node on disk; the same name gives the same directory. */
  store(name: string, capacityBytes?: number): FsBlobStore {
    return new FsBlobStore({ directory: join(this.directory, name), environment: systemEnvironment, capacityBytes })
  }

  /** Starts a node. */
  async add(options: NodeOptions = {}): Promise<SwarmNode> {
    const network = await this.network()
    const store = options.store ?? this.store(network.nodeId, options.capacityBytes)
    const warnings: string[] = []
    const logger = { ...silentLogger, warn: (line: string) => void warnings.push(line) }
    const { onTransfer } = options
    const listening = onTransfer === undefined ? {} : { onTransfer }
    const components = { network, store, environment: systemEnvironment, logger, ...listening }
    const blobs = new Blobs(components, { ...quick, ...options.init })
    await blobs.start()
    const node = { nodeId: network.nodeId, network, store, blobs, warnings }
    this.#nodes.push(node)
    return node
  }

  /** A file of these bytes. */
  async file(name: string, bytes: Uint8Array): Promise<string> {
    const path = join(this.directory, name)
    await writeFile(path, bytes)
    return path
  }

  /** Publishes one file. */
  async publish(node: SwarmNode, bytes: Uint8Array, name = 'model.safetensors'): Promise<Cid> {
    const { manifest } = await node.blobs.ingest([{ name, path: await this.file('original', bytes) }])
    return manifest
  }

  /** Stops a node, as when its process ends in order. */
  async stop(node: SwarmNode): Promise<void> {
    await node.blobs.stop()
    node.network.stop()
  }

  async dispose(): Promise<void> {
    for (const node of this.#nodes) await this.stop(node)
    await rm(this.directory, { recursive: true, force: true })
  }
}
