import { silentLogger, type Logger } from '../../src/core/logger.js'
import { parseModelId, parseVersion, type Version } from '../../src/core/ids.js'
import type { Capabilities } from '../../src/fleet/capabilities.js'
import { LinkPresence } from './link-presence.js'
import { Membership } from '../../src/fleet/membership.js'
import { Pulses } from '../../src/fleet/pulse.js'
import { ModelRegistry, type VariantInput } from '../../src/models/registry.js'
import type { RootKeeperInit } from '../../src/record/root-keeper.js'
import { Distribution } from '../../src/rollout/distribution.js'
import { Reconciler, type ReconcilerInit } from '../../src/rollout/reconciler.js'
import type { StatusBody } from '../../src/rollout/status.js'
import { DeploymentTracker } from '../../src/rollout/tracker.js'
import { TransferSlots } from '../../src/rollout/transfer-slots.js'
import { emptyDisk, imageOf, virtualMesh, type Disk, type RecordNode, type VirtualMesh } from '../unit/record/mesh.js'
import { FakeBlobs, FakeRuntime, type FakeCatalog } from './fakes.js'
import type { VirtualClock } from './virtual-clock.js'

/** The model that all tests roll out. */
export const model = parseModelId('detector')

/** A version in its branded form. */
export const version = (text: string): Version => parseVersion(text)

/** Figures of a test node: those of a real one where they matter. */
export const figures = {
  loadTimeoutMs: 300_000,
  checkTimeoutMs: 60_000,
  soakMs: 0,
  soakCheckPeriodMs: 1000,
  keepVersions: 2,
  retryMs: 1000,
  retryMaxMs: 30_000,
  offlineAfterMs: 60_000,
  coalesceMs: 100
}

/** How a test node differs from the others. */
export interface FleetNodeOptions {
  readonly capabilities?: Capabilities
  readonly formations?: readonly string[]
  readonly init?: Partial<ReconcilerInit>
  readonly logger?: Logger
  /** The fleet that it belongs to; none: everybody may do everything. */
  readonly fleet?: RootKeeperInit
  /** Prepares the runtime before the node starts. */
  readonly prepare?: (runtime: FakeRuntime) => void
  /** Whether the application refuses to make a runtime. */
  readonly factoryFails?: boolean
}

/** A whole node, but for its bytes and its application. */
export class FleetNode {
  readonly record: RecordNode
  readonly blobs: FakeBlobs
  readonly runtime: FakeRuntime
  readonly presence: LinkPresence
  readonly membership: Membership
  readonly pulses: Pulses
  readonly registry: ModelRegistry
  readonly tracker: DeploymentTracker
  readonly distribution: Distribution
  readonly reconciler: Reconciler

  constructor(mesh: VirtualMesh, record: RecordNode, blobs: FakeBlobs, options: FleetNodeOptions) {
    const { environment } = mesh
    const { document, network, keyPair, authority } = record
    const self = keyPair.nodeId
    const logger = options.logger ?? silentLogger
    this.record = record
    this.blobs = blobs
    this.runtime = new FakeRuntime(environment.clock)
    options.prepare?.(this.runtime)
    const description = {
      name: `node-${record.number}`,
      capabilities: { cpuArch: 'x86_64', providers: ['cpu'], gpus: [], ...options.capabilities },
      formations: [...(options.formations ?? [])],
      labels: {},
      software: 'test'
    }
    this.presence = new LinkPresence({ network, environment, logger })
    const { presence } = this
    const seen = { network, document, presence, authority, environment, logger }
    this.membership = new Membership(seen, description, { expireAfterMs: 0 })
    this.pulses = new Pulses(
      {
        network,
        keyPair,
        membership: this.membership,
        authority,
        environment,
        logger,
        readLoad: () => ({ memoryMb: 0, transfers: 0 })
      },
      { topic: 'test/pulse', interestMs: 30_000, progressPeriodMs: 250, progressTtlMs: 15_000 }
    )
    this.registry = new ModelRegistry({ document, blobs, authority, logger })
    this.tracker = new DeploymentTracker(document, logger)
    const { tracker, registry, membership, pulses } = this
    const shared = { self, document, tracker, registry, membership, pulses, blobs, environment, logger }
    const init = { ...figures, ...options.init }
    this.distribution = new Distribution(shared, init)
    const runtime = (): FakeRuntime => {
      if (options.factoryFails === true) throw new Error(`${model} is not known here`)
      return this.runtime
    }
    this.reconciler = new Reconciler({ ...shared, slots: new TransferSlots(2), runtime }, init)
  }

  /** What the node says of the model. */
  get status(): StatusBody {
    return this.tracker.ownStatus(model, this.record.keyPair.nodeId)
  }

  /** What is in the way, as `reason: message`. */
  get blocker(): string | undefined {
    const { blocker } = this.status
    return blocker === undefined ? undefined : `${blocker.reason}: ${blocker.message}`
  }

  async start(): Promise<void> {
    await this.record.root?.start()
    await this.record.document.start()
    this.presence.start()
    await this.membership.start()
    this.pulses.start()
    this.reconciler.start()
    this.record.network.start()
  }

  async stop(): Promise<void> {
    this.record.network.stop()
    await this.reconciler.stop()
    this.pulses.stop()
    this.membership.stop()
    this.presence.stop()
    await this.record.document.stop()
    await this.record.root?.stop()
  }
}

/** Nodes around one hub on a virtual clock. */
export class RolloutFleet {
  readonly mesh: VirtualMesh
  readonly #catalog: FakeCatalog = new Map()

  constructor(seed = 1) {
    this.mesh = virtualMesh(seed)
  }

  get clock(): VirtualClock {
    return this.mesh.environment.clock
  }

  /** Makes and starts a node. */
  async start(number: number, options: FleetNodeOptions = {}): Promise<FleetNode> {
    return this.#start(number, emptyDisk(), new FakeBlobs(this.clock, this.#catalog), options)
  }

  /** The node again, from its disk, as after the end of its process at this very moment. */
  async restart(node: FleetNode, options: FleetNodeOptions = {}, whenStopped?: () => void): Promise<FleetNode> {
    const disk = imageOf(node.record.disk)
    await this.clock.run(node.stop())
    whenStopped?.()
    return this.#start(node.record.number, disk, node.blobs, options)
  }

  /** Advances the clock until the condition holds. */
  async until(what: string, condition: () => boolean, limitMs = 120_000): Promise<void> {
    const end = this.clock.monotonic() + limitMs
    while (!condition()) {
      if (this.clock.monotonic() >= end) throw new Error(`Not within ${limitMs} ms: ${what}`)
      await this.clock.advance(20)
    }
  }

  /** Publishes versions of the model on a node, one variant of one file each. */
  async publish(node: FleetNode, versions: readonly string[], input: Partial<VariantInput> = {}): Promise<void> {
    for (const each of versions) {
      const variant = { id: 'any', files: [{ path: `model-${each}:4000000` }], ...input }
      await this.clock.run(node.registry.publish(model, each, [variant]))
    }
    await this.clock.advance(500)
  }

  async #start(number: number, disk: Disk, blobs: FakeBlobs, options: FleetNodeOptions): Promise<FleetNode> {
    const record = await this.mesh.node(number, {
      disk,
      ...(options.fleet === undefined ? {} : { fleet: options.fleet })
    })
    const node = new FleetNode(this.mesh, record, blobs, options)
    await this.clock.run(node.start())
    await this.clock.advance(300)
    return node
  }
}
