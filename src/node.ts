import './core/polyfill.js'
import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Blobs } from './blobs/blobs.js'
import { FsBlobStore } from './blobs/fs-blob-store.js'
import { defaultListen, defaultPresence, defaultTuning, nodeInitSchema, type NodeInit, type Tuning } from './config.js'
import type { AbortOptions } from './core/abort.js'
import { check } from './core/codec.js'
import { systemEnvironment, type Environment } from './core/environment.js'
import { MurmurateError } from './core/errors.js'
import { shortId, type NodeId } from './core/ids.js'
import { Lifecycle, type Startable } from './core/lifecycle.js'
import { componentLogger, silentLogger, type Logger } from './core/logger.js'
import { ProcessLock } from './core/process-lock.js'
import { CapabilityWatch } from './fleet/capability-watch.js'
import { fleetOf, type Fleet } from './fleet/fleet.js'
import { HealthMonitor } from './fleet/health-monitor.js'
import { conductIn } from './fleet/record-conduct.js'
import { systemMachine, type Machine } from './fleet/machine.js'
import { Membership, type NodeDescription } from './fleet/membership.js'
import { NeighbourWatch } from './fleet/neighbour-watch.js'
import { presencePresets } from './fleet/presence-presets.js'
import { probeCapabilities, probeStorageMb } from './fleet/probe.js'
import type { Load } from './fleet/load.js'
import { Pulses } from './fleet/pulse.js'
import { systemGauges, Vitals } from './fleet/vitals.js'
import { openAuthority } from './identity/authority.js'
import { decodeSignedRoot, parseFleetId, type FleetId } from './identity/fleet-root.js'
import { loadOrCreateKeyPair, recordLogKey, type KeyPair } from './identity/keypair.js'
import { deriveMeshKeys, type MeshKeys } from './identity/mesh-secret.js'
import { AddressFile } from './mesh/address-file.js'
import { ModelRegistry } from './models/registry.js'
import { Libp2pNetwork } from './net/libp2p-network.js'
import type { Network } from './net/network.js'
import { RecordLog } from './record/log.js'
import type { RecordView } from './record/record-view.js'
import { RootFile } from './record/root-file.js'
import { RootKeeper } from './record/root-keeper.js'
import { SharedDocument } from './record/shared-document.js'
import { directoryRuntime } from './rollout/directory-runtime.js'
import { Distribution } from './rollout/distribution.js'
import { Reconciler } from './rollout/reconciler.js'
import { DeploymentTracker } from './rollout/tracker.js'
import { TransferSlots } from './rollout/transfer-slots.js'
import { version as software } from './version.js'

/** One node of a mesh: the whole library behind one object. */
export interface MurmurateNode extends Startable {
  /** This node's id, made from its key; the same after every restart. */
  readonly id: NodeId
  /** Addresses that other nodes can dial; empty while stopped. */
  readonly addresses: readonly string[]
  /** Publish models, see what is published. */
  readonly models: ModelRegistry
  /** Order rollouts, see how they go. */
  readonly distribution: Distribution
  /** Who is in the mesh, and how well; nodes that are gone for good can be forgotten. */
  readonly fleet: Fleet
  /** Who may do what, as the fleet root says; undefined when this node was told of no fleet: then everybody may do everything. */
  readonly root: NodeRoot | undefined
  /** Who of them answers at this moment, and how good the links of this node are. */
  readonly presence: Pick<NeighbourWatch, 'stateOf' | 'offlineSince' | 'onChange' | 'links'>
  /** What this node holds of the shared document, what it refused and from whom, and what it can prove of whom. */
  readonly record: RecordView
  /** How far transfers are, anywhere in the mesh, while somebody watches. */
  readonly progress: Pick<Pulses, 'watch' | 'progress'>
  /**
   * Dials a peer where multicast does not reach, and keeps the link up from then on.
   *
   * @param address - a multiaddr such as `/ip4/192.0.2.7/tcp/4001`
   * @throws MurmurateError `NETWORK_ERROR` when nobody of this mesh answers there (another secret counts as nobody)
   */
  connect(address: string, options?: AbortOptions): Promise<NodeId>
  /** `record.digest()`: equal on two nodes exactly when they hold the same. */
  digest(): string
  /** Bytes sent and received over all links since start. */
  traffic(): { readonly sentBytes: number; readonly receivedBytes: number }
}

/** The fleet root as a node knows it. */
export type NodeRoot = Pick<
  RootKeeper,
  'fleetId' | 'current' | 'chain' | 'forks' | 'isExpired' | 'isMember' | 'hasRole' | 'install' | 'onChange'
>

/**
 * Makes a node. It does nothing to the outside until `start()`, prints nothing, and installs no handlers, so an
 * application can embed as many as it likes.
 *
 * @throws MurmurateError `INVALID_REQUEST`, `SECRET_MALFORMED`, `MALFORMED` (roots), `KEY_UNREADABLE`, `DATA_DIR_UNREADABLE`
 * @example
 * ```ts
 * const node = await createNode({ dataDir: '/var/lib/murmurate', secret })
 * await node.start()
 * await node.models.publish('target_recognition', '4.2.1', [{ id: 'fp16', files: [{ path: 'model.safetensors' }] }])
 * await node.distribution.distributeModel('target_recognition', '4.2.1')
 * ```
 */
export async function createNode(init: NodeInit): Promise<MurmurateNode> {
  check(init, nodeInitSchema, 'node')
  const fleetId = init.fleet === undefined ? undefined : parseFleetId(init.fleet)
  const meshKeys = deriveMeshKeys(init.secret, fleetId)
  const dataDir = resolve(init.dataDir)
  const environment = init.environment ?? systemEnvironment
  await makeDataDir(dataDir)
  const keyPair = await loadOrCreateKeyPair(join(dataDir, 'node.key'), environment.random)
  const logger = init.logger ?? silentLogger
  const machine = systemMachine(environment.clock)
  const probed = await probeCapabilities(machine, dataDir)
  const description: NodeDescription = {
    name: init.name ?? shortId(keyPair.nodeId),
    capabilities: { ...probed, ...storageOf(probed.storageMb, init), ...init.capabilities },
    formations: [...(init.formations ?? [])],
    labels: { ...init.labels },
    software
  }
  return assemble({
    init,
    dataDir,
    keyPair,
    meshKeys,
    fleetId,
    machine,
    description,
    environment,
    logger,
    tuning: { ...defaultTuning, ...init.tuning }
  })
}

interface Parts {
  readonly init: NodeInit
  readonly dataDir: string
  readonly keyPair: KeyPair
  readonly meshKeys: MeshKeys
  readonly fleetId: FleetId | undefined
  readonly machine: Machine
  readonly description: NodeDescription
  readonly environment: Environment
  readonly logger: Logger
  readonly tuning: Tuning
}

/** Builds everything bottom-up: each room gets what it uses, and nothing is started. */
function assemble({
  init,
  dataDir,
  keyPair,
  meshKeys,
  fleetId,
  machine,
  description,
  environment,
  logger,
  tuning
}: Parts): MurmurateNode {
  const self = keyPair.nodeId
  const { listen = defaultListen, peers = [], discovery = true } = init
  const network = new Libp2pNetwork({ keyPair, meshKeys, listen, peers, discovery, environment, logger })
  const root =
    fleetId === undefined ? undefined : makeRootKeeper(fleetId, { init, dataDir, network, environment, logger })
  const authority = root ?? openAuthority
  const log = new RecordLog(join(dataDir, 'record', 'log'), recordLogKey(keyPair))
  const document = new SharedDocument(
    { network, keyPair, log, authority, environment, logger: componentLogger(logger, 'record') },
    { topic: 'record', ...tuning }
  )
  const presence = new NeighbourWatch(
    { network, keyPair, environment, logger: componentLogger(logger, 'presence') },
    { topic: 'presence', preset: presencePresets[init.presence ?? defaultPresence] }
  )
  const membership = new Membership(
    { network, document, presence, authority, environment, logger },
    description,
    tuning
  )
  const slots = new TransferSlots(tuning.parallelTransfers)
  const vitals = new Vitals(systemGauges(dataDir), environment.clock)
  const readLoad = (): Load => {
    const { cpuPercent, memoryMb, eventLoopMs } = vitals.read()
    return { cpuPercent, memoryMb, eventLoopMs, transfers: slots.active }
  }
  const pulses = new Pulses(
    { network, keyPair, membership, authority, environment, logger, readLoad },
    { topic: 'pulse', ...tuning }
  )
  const health = new HealthMonitor({
    membership,
    pulses,
    vitals,
    clock: environment.clock,
    conduct: () => conductIn(document),
    root
  })
  const capabilityWatch = new CapabilityWatch({
    membership,
    environment,
    logger,
    probeStorageMb: () => presentStorageMb(machine, dataDir, init)
  })
  const store = new FsBlobStore({ directory: join(dataDir, 'blobs'), environment, logger, ...capacity(init) })
  const blobs = new Blobs({
    network,
    store,
    environment,
    logger,
    onTransfer: (peer, bytes, ms) => presence.observe(peer, bytes, ms)
  })
  const registry = new ModelRegistry({ document, blobs, authority, logger })
  const tracker = new DeploymentTracker(document, logger)
  const shared = { self, document, tracker, registry, membership, pulses, blobs, environment, logger }
  const distribution = new Distribution(shared, tuning)
  const runtime = init.runtime ?? directoryRuntime({ directory: join(dataDir, 'models') })
  const reconciler = new Reconciler({ ...shared, slots, runtime }, tuning)
  // The network comes last: whoever connects then finds everything served, and goes first when the node stops.
  const lifecycle = new Lifecycle(
    [
      ['lock', new ProcessLock(dataDir, environment.random)],
      ['blobs', blobs],
      ...(root === undefined ? [] : ([['root', root]] as const)),
      ['document', document],
      ['presence', presence],
      ['membership', membership],
      ['vitals', vitals],
      ['health', health],
      ['capabilities', capabilityWatch],
      ['pulses', pulses],
      ['reconciler', reconciler],
      ['network', network],
      ['addresses', new AddressFile(dataDir, () => network.addresses(), logger)],
      ['farewell', { start: () => {}, stop: () => farewell(document, presence) }]
    ],
    logger
  )
  return {
    id: self,
    get addresses() {
      return network.addresses()
    },
    models: registry,
    distribution,
    fleet: fleetOf(membership, health, pulses),
    root,
    presence,
    record: document,
    progress: pulses,
    connect: (address, options) => network.dial(address, options),
    digest: () => document.digest(),
    traffic: () => network.traffic(),
    start: () => lifecycle.start(),
    stop: () => lifecycle.stop()
  }
}

function makeRootKeeper(
  fleetId: FleetId,
  {
    init,
    dataDir,
    network,
    environment,
    logger
  }: Pick<Parts, 'init' | 'dataDir' | 'environment' | 'logger'> & { readonly network: Network }
): RootKeeper {
  const storage = new RootFile(join(dataDir, 'record', 'root'), fleetId)
  const roots = (init.roots ?? []).map(decodeSignedRoot)
  return new RootKeeper({ network, storage, environment, logger: componentLogger(logger, 'root') }, { fleetId, roots })
}

/** While the network still runs: what was written reaches a peer, then the mesh hears that this node leaves. */
async function farewell(document: SharedDocument, presence: NeighbourWatch): Promise<void> {
  await document.farewell()
  await presence.leave()
}

/** No node promises more room than it may use. */
function storageOf(foundMb: number | undefined, { storageBytes }: NodeInit): { readonly storageMb?: number } {
  if (storageBytes === undefined) return foundMb === undefined ? {} : { storageMb: foundMb }
  return { storageMb: Math.min(foundMb ?? Infinity, Math.floor(storageBytes / 1024 / 1024)) }
}

/** Space for models at this moment, unless it was declared. */
async function presentStorageMb(machine: Machine, dataDir: string, init: NodeInit): Promise<number | undefined> {
  return init.capabilities?.storageMb ?? storageOf(await probeStorageMb(machine, dataDir), init).storageMb
}

function capacity({ storageBytes }: NodeInit): { readonly capacityBytes?: number } {
  return storageBytes === undefined ? {} : { capacityBytes: storageBytes }
}

async function makeDataDir(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw new MurmurateError('DATA_DIR_UNREADABLE', `The data directory ${path} cannot be made`, {
      details: { path },
      cause
    })
  }
}
