import { readFile } from 'node:fs/promises'
import { MurmurateError, messageOf } from '../core/errors.js'
import { createNode, findMesh, type ModelConvergenceStatus, type MurmurateNode, type NodeInit } from '../index.js'
import { UsageError, type Publication } from './options.js'
import { signalled } from './signals.js'

/** Options of `murmurate up`. */
export interface UpOptions {
  readonly dataDir: string
  readonly secretFile?: string
  readonly name?: string
  readonly listen?: readonly string[]
  readonly peer?: readonly string[]
  readonly discovery: boolean
  readonly publish?: readonly Publication[]
}

/** Runs a node until it is told to stop by a signal. */
export async function up(options: UpOptions): Promise<void> {
  const { dataDir, listen, discovery, publish: publications = [] } = options
  const mesh = await meshOf(options)
  const node = await createNode({ dataDir, discovery, ...mesh, ...(listen === undefined ? {} : { listen }) })
  const stopped = signalled()
  await node.start()
  try {
    console.log(`node ${node.id}`)
    announceRoot(node)
    for (const address of node.addresses) console.log(`listens on ${address}`)
    announceMembers(node)
    for (const publication of publications) await publishAndFollow(node, publication, stopped.signal)
    await stopped.promise
  } catch (error) {
    // A publication that is under way at Ctrl-C ends with an error of its own, which is no news.
    if (!stopped.signal.aborted) throw error
  } finally {
    await node.stop()
  }
}

/** What `init` or `join` left in the data directory, or a secret file says; options come before either. */
async function meshOf({ dataDir, secretFile, name, peer = [] }: UpOptions): Promise<Omit<NodeInit, 'dataDir'>> {
  const mesh = await findMesh(dataDir)
  if (mesh !== undefined && secretFile !== undefined)
    throw new UsageError(`error: ${dataDir} has a mesh.json, so leave --secret-file out`)
  const displayName = name ?? mesh?.name
  const shared = displayName === undefined ? {} : { name: displayName }
  if (mesh !== undefined) {
    return { ...shared, secret: mesh.secret, fleet: mesh.fleetId, peers: [...mesh.peers, ...peer] }
  }
  if (secretFile !== undefined) return { ...shared, secret: await readSecret(secretFile), peers: peer }
  const message = `${dataDir} has no mesh.json, and no --secret-file is given`
  throw new MurmurateError('MESH_MISSING', message, { details: { path: dataDir } })
}

/** Says what the fleet root lets this node do, and again when that changes. */
function announceRoot({ id, root }: MurmurateNode): void {
  if (root === undefined) return
  const roles = ['operator', 'publisher'] as const
  const tell = (): void => {
    const held = root.isMember(id) ? ['member', ...roles.filter((role) => root.hasRole(id, role))] : ['not a member']
    console.log(`root ${root.current?.root.version ?? 'unknown'}: this node is ${held.join(', ')}`)
  }
  root.onChange(tell)
  tell()
}

async function readSecret(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new MurmurateError('INVALID_REQUEST', `The secret file ${path} cannot be read`, { details: { path }, cause })
  }
}

function announceMembers(node: MurmurateNode): void {
  let known = ''
  node.fleet.onChange(() => {
    const line = node.fleet
      .members()
      .map(({ name, online }) => (online ? name : `${name} (offline)`))
      .join(', ')
    if (line !== known) console.log(`members: ${line}`)
    known = line
  })
}

async function publishAndFollow(
  node: MurmurateNode,
  { model, version, path }: Publication,
  signal: AbortSignal
): Promise<void> {
  const { id } = await node.models.publish(model, version, [{ id: 'default', files: [{ path }] }], { signal })
  // The same command again, as after a restart, orders nothing new and overrules nobody who did.
  const isOrdered = node.distribution.rollouts(model).some(({ distributionHandle: { release } }) => release === id)
  if (!isOrdered) await node.distribution.distributeModel(model, version)
  void follow(node, model, version, signal).catch((error: unknown) => {
    if (!signal.aborted) console.error(`watching ${model} ${version} failed: ${messageOf(error)}`)
  })
}

async function follow(node: MurmurateNode, model: string, version: string, signal: AbortSignal): Promise<void> {
  let last = ''
  for await (const status of node.distribution.subscribeConvergence(model, version, { signal, follow: true })) {
    const line = summary(status)
    if (line !== last) console.log(line)
    last = line
  }
}

function summary({ modelId, targetVersion, converged, totalPlatforms, blockers }: ModelConvergenceStatus): string {
  const blocked = blockers.map(({ nodeId, reason, message }) => `\n  ${nodeId}: ${reason}: ${message}`).join('')
  return `${modelId} ${targetVersion}: ${converged} of ${totalPlatforms} converged${blocked}`
}
