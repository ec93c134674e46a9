import { join } from 'node:path'
import { systemEnvironment, type Environment } from '../core/environment.js'
import type { NodeId } from '../core/ids.js'
import { ProcessLock } from '../core/process-lock.js'
import { createRoot, fleetIdOf, signRoot, type FleetId } from '../identity/fleet-root.js'
import { loadOrCreateKeyPair } from '../identity/keypair.js'
import { createMeshSecret } from '../identity/mesh-secret.js'
import { assertNoMesh, createMesh, rootFileOf } from './mesh-file.js'

/** What a new mesh is made from. */
export interface FoundOptions {
  /** Directory of the first node; made when it is missing. */
  readonly dataDir: string
  /** Name of the first node, for people. */
  readonly name?: string
  /** `open`: whoever is invited is a member; `list`: those whom a root key puts on the list. */
  readonly members: 'open' | 'list'
}

/** A mesh that was founded. Nothing of it is secret. */
export interface Founded {
  readonly nodeId: NodeId
  readonly fleetId: FleetId
  /** The key that signs roots, as the roots name it. */
  readonly rootKey: NodeId
}

/** The key file of whoever may sign roots. */
export function rootKeyPath(dataDir: string): string {
  return join(dataDir, 'root.key')
}

/** The key file of the node. */
export function nodeKeyPath(dataDir: string): string {
  return join(dataDir, 'node.key')
}

/** Does something while no node runs on a data directory. @throws MurmurateError `DATA_DIR_IN_USE` */
export async function alone<T>(dataDir: string, { random }: Environment, task: () => Promise<T>): Promise<T> {
  const lock = new ProcessLock(dataDir, random)
  await lock.start()
  try {
    return await task()
  } finally {
    await lock.stop()
  }
}

/**
 * Founds a mesh: node key, root key, mesh secret, and a first root by which this node is operator, publisher and member.
 * `mesh.json` is written last: a founding that was interrupted is begun anew.
 *
 * @throws MurmurateError `MESH_EXISTS`, `DATA_DIR_IN_USE`, `DATA_DIR_UNREADABLE`, `INSUFFICIENT_STORAGE`, `KEY_UNREADABLE`
 */
export async function foundMesh(
  { dataDir, name, members }: FoundOptions,
  environment: Environment = systemEnvironment
): Promise<Founded> {
  return alone(dataDir, environment, async () => {
    await assertNoMesh(dataDir)
    const { random, clock } = environment
    const { nodeId } = await loadOrCreateKeyPair(nodeKeyPath(dataDir), random)
    const rootKey = await loadOrCreateKeyPair(rootKeyPath(dataDir), random)
    const draft = createRoot({
      keys: [rootKey.nodeId],
      threshold: 1,
      operators: [nodeId],
      publishers: [nodeId],
      releaseThreshold: 1,
      members: members === 'open' ? 'open' : [nodeId],
      revoked: [],
      issuedAt: clock.now()
    })
    const fleetId = fleetIdOf(draft)
    await rootFileOf(dataDir, fleetId).save([signRoot(draft, rootKey)])
    const mesh = { secret: createMeshSecret(random), fleetId, peers: [], ...(name === undefined ? {} : { name }) }
    await createMesh(dataDir, mesh, random)
    return { nodeId, fleetId, rootKey: rootKey.nodeId }
  })
}
