import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { createFile } from '../core/durable.js'
import type { Random } from '../core/environment.js'
import { messageOf, MurmurateError, systemCode } from '../core/errors.js'
import { parseFleetId, type FleetId } from '../identity/fleet-root.js'
import { RootFile } from '../record/root-file.js'

/** What a data directory knows of the mesh that it belongs to, in `mesh.json`, mode 0600. */
export interface MeshFile {
  /** The mesh secret, in its text form. */
  readonly secret: string
  readonly fleetId: FleetId
  /** Multiaddrs of nodes to dial at every start. */
  readonly peers: readonly string[]
  /** Name for people. */
  readonly name?: string
}

const schema = z.object({
  version: z.literal(1),
  secret: z.string().max(128),
  fleetId: z.string(),
  peers: z.array(z.string().max(300)).max(256),
  name: z.string().min(1).max(64).exactOptional()
})
/** 256 peers of 300 characters and the rest: 78 kB. */
const maxFileBytes = 128 * 1024

/** Where the mesh of a data directory is kept. */
function meshPath(dataDir: string): string {
  return join(dataDir, 'mesh.json')
}

/** The roots of a data directory, as its node keeps them. */
export function rootFileOf(dataDir: string, fleetId: FleetId): RootFile {
  return new RootFile(join(dataDir, 'record', 'root'), fleetId)
}

/**
 * The mesh that a data directory belongs to; undefined when to none.
 *
 * @throws MurmurateError `MESH_UNREADABLE`; no error shows the secret
 */
export async function findMesh(dataDir: string): Promise<MeshFile | undefined> {
  const path = meshPath(dataDir)
  let text: string
  try {
    const { size, mode } = await stat(path)
    if (size > maxFileBytes) throw unreadable(path, `has ${size} bytes`)
    if ((mode & 0o077) !== 0) throw unreadable(path, 'may be read by other users: run chmod 600 on it')
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(cause) ?? '')) return undefined
    throw cause instanceof MurmurateError ? cause : unreadable(path, `cannot be read: ${messageOf(cause)}`)
  }
  return parse(path, text)
}

/**
 * The mesh that a data directory belongs to.
 *
 * @throws MurmurateError `MESH_MISSING`, `MESH_UNREADABLE`
 */
export async function readMesh(dataDir: string): Promise<MeshFile> {
  const mesh = await findMesh(dataDir)
  if (mesh !== undefined) return mesh
  throw new MurmurateError('MESH_MISSING', `There is no mesh.json in ${dataDir}`, { details: { path: dataDir } })
}

/** @throws MurmurateError `MESH_EXISTS` when the directory belongs to a mesh, with or without a fleet */
export async function assertNoMesh(dataDir: string): Promise<void> {
  const fleetId = (await findMesh(dataDir))?.fleetId
  if (fleetId !== undefined) throw exists(dataDir, `belongs to the mesh of ${fleetId}`)
  if (await isThere(join(dataDir, 'record', 'log'))) throw exists(dataDir, 'was run with a secret file')
}

/** @throws MurmurateError `MESH_EXISTS` when another was first, `INSUFFICIENT_STORAGE`, `DATA_DIR_UNREADABLE` */
export async function createMesh(dataDir: string, mesh: MeshFile, random: Random): Promise<void> {
  const text = `${JSON.stringify({ version: 1, ...mesh }, undefined, 2)}\n`
  if (!(await createFile(meshPath(dataDir), text, random))) throw exists(dataDir, 'has a mesh.json by now')
}

function parse(path: string, text: string): MeshFile {
  try {
    const { fleetId, secret, peers, name } = schema.parse(JSON.parse(text))
    return { secret, peers, fleetId: parseFleetId(fleetId), ...(name === undefined ? {} : { name }) }
  } catch {
    // Neither the cause nor its message may go out: they could quote the secret.
    throw unreadable(path, 'has not the form that murmurate writes')
  }
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false
  )
}

function exists(dataDir: string, why: string): MurmurateError {
  return new MurmurateError('MESH_EXISTS', `${dataDir} ${why}`, { details: { path: dataDir } })
}

function unreadable(path: string, why: string): MurmurateError {
  return new MurmurateError('MESH_UNREADABLE', `The file ${path} ${why}`, { details: { path } })
}
