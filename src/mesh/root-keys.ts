import { rename } from 'node:fs/promises'
import { syncDirectory } from '../core/durable.js'
import { MurmurateError } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import {
  decodeSignedRoot,
  draftNext,
  encodeSignedRoot,
  maxSignedRootBytes,
  signRoot,
  verifyNext,
  type FleetId,
  type FleetRoot,
  type SignedRoot
} from '../identity/fleet-root.js'
import { loadKeyPair, loadOrCreateKeyPair, type KeyPair } from '../identity/keypair.js'
import { nodeKeyPath, rootKeyPath } from './founding.js'
import { readMesh } from './mesh-file.js'
import { changesOf, describeChanges, missingSigners, type RootWish } from './root-change.js'
import { quietly, readChain, withRoots, type Delivery, type RootAccess, type RootComponents } from './root-delivery.js'

/** What a data directory knows of who may do what. */
export interface RootView {
  readonly fleetId: FleetId
  readonly nodeId: NodeId
  /** The root key in this data directory, if there is one, whether it counts or not. */
  readonly rootKey: NodeId | undefined
  readonly root: FleetRoot
}

/** What became of a change. */
export interface RootChangeResult {
  readonly version: number
  /** Lines for people. */
  readonly changes: readonly string[]
  /** Where it is in force; undefined for a draft. */
  readonly delivery: Delivery | undefined
  /** The text of the draft, for the others to sign; undefined when it is in force. */
  readonly draft: string | undefined
  /** Keys of which enough must still sign. */
  readonly missing: readonly NodeId[]
}

const draftPrefix = 'murmurate-root-1:'
const draftPattern = /^murmurate-root-1:([A-Za-z0-9_-]+)$/

/** The key that is to replace the root key, until a root that names it is in force. */
const nextKeyPath = (dataDir: string): string => `${rootKeyPath(dataDir)}.next`

/** A draft, or a signed root, as one line of text. Nothing of it is secret. */
export function encodeDraft(draft: SignedRoot): string {
  return draftPrefix + Buffer.from(encodeSignedRoot(draft)).toString('base64url')
}

/** @throws MurmurateError `MALFORMED` */
function parseDraft(text: string): SignedRoot {
  const body = draftPattern.exec(text.trim().slice(0, 2 * maxSignedRootBytes))?.[1]
  if (body === undefined) throw new MurmurateError('MALFORMED', `A draft is one line that begins with "${draftPrefix}"`)
  return decodeSignedRoot(new Uint8Array(Buffer.from(body, 'base64url')))
}

/** Who may do what, as the data directory knows it. */
export async function showRoot(dataDir: string): Promise<RootView> {
  const mesh = await readMesh(dataDir)
  const current = (await readChain(dataDir, mesh)).at(-1)
  const node = await loadKeyPair(nodeKeyPath(dataDir))
  const rootKey = await loadKeyPair(rootKeyPath(dataDir))
  if (current === undefined || node === undefined)
    throw new MurmurateError('MESH_MISSING', `${dataDir} has no node.key`)
  return { fleetId: mesh.fleetId, nodeId: node.nodeId, rootKey: rootKey?.nodeId, root: current.root }
}

/** Makes a root key in a data directory, or finds the one that is there. It counts once a root names it. */
export async function createRootKey(dataDir: string, { environment }: RootComponents = quietly): Promise<NodeId> {
  await readMesh(dataDir)
  return (await loadOrCreateKeyPair(rootKeyPath(dataDir), environment.random)).nodeId
}

/**
 * Drafts the next root, signs it with the root key of the data directory, and puts it in force when that is enough, unless
 * a draft is asked for.
 *
 * @throws MurmurateError `INVALID_REQUEST`, `NOT_PERMITTED` when the data directory has no root key that counts,
 * `ROOT_UNDELIVERED`, `MESH_MISSING`
 */
export function changeRoot(
  access: RootAccess & { readonly draftOnly?: boolean },
  wishes: readonly RootWish[],
  components: RootComponents = quietly
): Promise<RootChangeResult> {
  return withRoots(access, components, async ({ chain, deliver }) => {
    const current = lastOf(chain)
    const draft = await draftOf(access.dataDir, current, wishes, components)
    const changes = describeChanges(current.root, draft.root)
    const missing = missingSigners(current.root, draft)
    const version = draft.root.version
    if (access.draftOnly === true || missing.length > 0) {
      return { version, changes, delivery: undefined, draft: encodeDraft(draft), missing }
    }
    const delivery = await deliver([...chain, draft])
    await settleRootKey(access.dataDir, draft.root)
    return { version, changes, delivery, draft: undefined, missing }
  })
}

/**
 * Replaces the root key of the data directory by a new one. The old file goes when a root that names the new key is in force.
 *
 * @throws MurmurateError as `changeRoot`
 */
export async function rotateRootKey(
  access: RootAccess & { readonly draftOnly?: boolean },
  components: RootComponents = quietly
): Promise<RootChangeResult> {
  await readMesh(access.dataDir)
  const old = await loadKeyPair(rootKeyPath(access.dataDir))
  if (old === undefined) throw noRootKey(access.dataDir)
  const next = await loadOrCreateKeyPair(nextKeyPath(access.dataDir), components.environment.random)
  return changeRoot(access, [{ type: 'replace', old: old.nodeId, key: next.nodeId }], components)
}

/**
 * Signs a draft with the root key of the data directory.
 *
 * @throws MurmurateError `ROOT_REFUSED` when it is not the next after the root here; `NOT_PERMITTED`, `MALFORMED`
 */
export async function signDraft(dataDir: string, text: string): Promise<RootChangeResult> {
  const current = lastOf(await readChain(dataDir, await readMesh(dataDir)))
  const draft = parseDraft(text)
  const { version } = draft.root
  if (version !== current.root.version + 1) {
    const message = `The draft is version ${version}, and ${dataDir} knows version ${current.root.version}`
    throw new MurmurateError('ROOT_REFUSED', message, { details: { version } })
  }
  const signed = await signWithOwn(dataDir, current.root, draft)
  const changes = describeChanges(current.root, signed.root)
  const missing = missingSigners(current.root, signed)
  return { version, changes, delivery: undefined, draft: encodeDraft(signed), missing }
}

/**
 * Puts a draft in force that has all its signatures.
 *
 * @throws MurmurateError `ROOT_REFUSED`, `ROOT_UNDELIVERED`, `MALFORMED`, `MESH_MISSING`
 */
export function applyDraft(
  access: RootAccess,
  text: string,
  components: RootComponents = quietly
): Promise<RootChangeResult> {
  return withRoots(access, components, async ({ chain, deliver }) => {
    const draft = parseDraft(text)
    const current = lastOf(chain)
    verifyNext(current, draft)
    const delivery = await deliver([...chain, draft])
    await settleRootKey(access.dataDir, draft.root)
    const changes = describeChanges(current.root, draft.root)
    return { version: draft.root.version, changes, delivery, draft: undefined, missing: [] }
  })
}

/** The next root as far as this data directory can sign it. */
export async function draftOf(
  dataDir: string,
  current: SignedRoot,
  wishes: readonly RootWish[],
  { environment }: RootComponents
): Promise<SignedRoot> {
  const issuedAt = environment.clock.now()
  const draft = draftNext(current.root, { ...changesOf(current.root, wishes), issuedAt })
  return signWithOwn(dataDir, current.root, draft)
}

async function signWithOwn(dataDir: string, current: FleetRoot, draft: SignedRoot): Promise<SignedRoot> {
  const own = await ownKeys(dataDir)
  const counting = own.filter(({ nodeId }) => current.keys.includes(nodeId) || draft.root.keys.includes(nodeId))
  if (counting.length === 0) throw noRootKey(dataDir)
  return counting.reduce(signRoot, draft)
}

async function ownKeys(dataDir: string): Promise<KeyPair[]> {
  const pairs = [await loadKeyPair(rootKeyPath(dataDir)), await loadKeyPair(nextKeyPath(dataDir))]
  return pairs.filter((pair) => pair !== undefined)
}

/** The key that a rotation made becomes the root key when the root in force names it. */
async function settleRootKey(dataDir: string, { keys }: FleetRoot): Promise<void> {
  const next = await loadKeyPair(nextKeyPath(dataDir))
  if (next === undefined || !keys.includes(next.nodeId)) return
  await rename(nextKeyPath(dataDir), rootKeyPath(dataDir))
  await syncDirectory(dataDir)
}

function lastOf(chain: readonly SignedRoot[]): SignedRoot {
  const last = chain.at(-1)
  if (last === undefined) throw new MurmurateError('INTERNAL', 'A chain of roots is empty')
  return last
}

function noRootKey(dataDir: string): MurmurateError {
  const message = `${dataDir} has no root key that the fleet root names`
  return new MurmurateError('NOT_PERMITTED', message, { details: { path: dataDir } })
}
