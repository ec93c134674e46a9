import type { AbortOptions } from '../core/abort.js'
import { systemEnvironment, type Environment } from '../core/environment.js'
import { errorCode, messageOf, MurmurateError } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import { silentLogger, type Logger } from '../core/logger.js'
import type { SignedRoot } from '../identity/fleet-root.js'
import { ephemeralKeyPair } from '../identity/keypair.js'
import { deriveMeshKeys } from '../identity/mesh-secret.js'
import { Libp2pNetwork } from '../net/libp2p-network.js'
import { readAddresses } from './address-file.js'
import { alone } from './founding.js'
import { readMesh, rootFileOf, type MeshFile } from './mesh-file.js'
import { RootSession } from './root-session.js'

/** From where, and how, the mesh is to be reached. */
export interface RootAccess extends AbortOptions {
  readonly dataDir: string
  /** Multiaddrs to try beside those that the data directory knows. */
  readonly peers?: readonly string[]
  /** Whether to look for nodes on the local network. @default true */
  readonly discovery?: boolean
}

/** What a program that changes roots needs. */
export interface RootComponents {
  readonly environment: Environment
  readonly logger: Logger
}

/** The machine's own time and chance, and no log. */
export const quietly: RootComponents = Object.freeze({ environment: systemEnvironment, logger: silentLogger })

/** Where a chain of roots has arrived. */
export interface Delivery {
  /** Whether it is in the data directory; a node that runs there puts it there itself. */
  readonly isStored: boolean
  /** Nodes that go by it. */
  readonly confirmedBy: readonly NodeId[]
}

/** The mesh of a data directory while it is open: the chain that counts, and the way to replace it. */
export interface OpenRoots {
  readonly mesh: MeshFile
  /** The newest chain that the data directory or a node reached knows; at least one root. */
  readonly chain: readonly SignedRoot[]
  /**
   * Puts a longer chain in force: on the disk when no node runs here, and on every node reached.
   *
   * @throws MurmurateError `ROOT_UNDELIVERED` when it is nowhere
   */
  readonly deliver: (chain: readonly SignedRoot[]) => Promise<Delivery>
}

/** Opens the roots of a data directory, does something with them and closes the connections. */
export async function withRoots<T>(
  access: RootAccess,
  components: RootComponents,
  task: (roots: OpenRoots) => Promise<T>
): Promise<T> {
  const mesh = await readMesh(access.dataDir)
  const stored = await readChain(access.dataDir, mesh)
  const network = await networkOf(access, mesh, components)
  await network.start()
  try {
    const { environment, logger } = components
    const session = new RootSession({ network, clock: environment.clock, logger, fleetId: mesh.fleetId })
    const { peers = [], discovery = true, signal } = access
    await session.reach([...(await readAddresses(access.dataDir)), ...mesh.peers, ...peers], { signal, discovery })
    const chain = await session.gather(stored, { signal })
    const deliver = (next: readonly SignedRoot[]): Promise<Delivery> => give(access, mesh, session, next, components)
    return await task({ mesh, chain, deliver })
  } finally {
    await network.stop()
  }
}

/** The roots on the disk. @throws MurmurateError `ROOT_UNREADABLE` when there are none or they are damaged */
export async function readChain(dataDir: string, { fleetId }: MeshFile): Promise<readonly SignedRoot[]> {
  const chain = await rootFileOf(dataDir, fleetId).load()
  if (chain.length > 0) return chain
  const details = { path: dataDir }
  throw new MurmurateError('ROOT_UNREADABLE', `${dataDir} holds no root of ${fleetId}`, { details })
}

async function networkOf(
  { discovery = true }: RootAccess,
  { secret, fleetId }: MeshFile,
  { environment, logger }: RootComponents
): Promise<Libp2pNetwork> {
  const keyPair = await ephemeralKeyPair(environment.random)
  const meshKeys = deriveMeshKeys(secret, fleetId)
  // It must listen to be found: mDNS answers of a node without an address lead nowhere, and the others dial too.
  const listen = ['/ip4/0.0.0.0/tcp/0']
  return new Libp2pNetwork({ keyPair, meshKeys, listen, peers: [], discovery, environment, logger })
}

async function give(
  { dataDir, signal }: RootAccess,
  mesh: MeshFile,
  session: RootSession,
  chain: readonly SignedRoot[],
  { environment, logger }: RootComponents
): Promise<Delivery> {
  const isStored = await store(dataDir, environment, mesh, chain)
  const confirmedBy = await session.deliver(chain, { signal }).catch((error: unknown) => {
    if (!isStored) throw error
    logger.warn(`the root is on the disk but was not given on: ${messageOf(error)}`)
    return []
  })
  if (isStored || confirmedBy.length > 0) return { isStored, confirmedBy }
  const message = `A node runs on ${dataDir}, but neither it nor another one took root ${chain.length}`
  throw new MurmurateError('ROOT_UNDELIVERED', message, { details: { path: dataDir, version: chain.length } })
}

/** A node that runs keeps the file itself. */
async function store(
  dataDir: string,
  environment: Environment,
  { fleetId }: MeshFile,
  chain: readonly SignedRoot[]
): Promise<boolean> {
  try {
    await alone(dataDir, environment, () => rootFileOf(dataDir, fleetId).save(chain))
    return true
  } catch (error) {
    if (errorCode(error) === 'DATA_DIR_IN_USE') return false
    throw error
  }
}
