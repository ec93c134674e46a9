import { readFile, writeFile } from 'node:fs/promises'
import { MurmurateError } from '../core/errors.js'
import {
  applyDraft,
  changeRoot,
  createRootKey,
  rotateRootKey,
  showRoot,
  signDraft,
  type RootChangeResult,
  type RootWish
} from '../index.js'
import { components } from './components.js'
import { print, type CommonOptions, type ReachOptions } from './options.js'
import { signalled } from './signals.js'

/** Options of the commands that change the root. */
export interface ChangeOptions extends ReachOptions {
  /** Write a draft for others to sign, instead of putting it in force. */
  readonly out?: string
}

/** Shows the root. */
export async function list({ dataDir, json }: CommonOptions): Promise<void> {
  const { fleetId, nodeId, rootKey, root } = await showRoot(dataDir)
  const { version, keys, threshold, operators, publishers, releaseThreshold, members, revoked } = root
  const lines = (name: string, ids: readonly string[]): string[] => [
    `${name}: ${ids.length === 0 ? 'none' : ''}`.trimEnd(),
    ...ids.map((id) => `  ${id}${id === nodeId ? ' (this node)' : ''}${id === rootKey ? ' (the key here)' : ''}`)
  ]
  print(json, { fleetId, nodeId, rootKey: rootKey ?? null, root }, [
    `fleet ${fleetId}`,
    `root version ${version}`,
    ...lines(`root keys, ${threshold} of them sign`, keys),
    ...lines('operators', operators),
    ...lines(`publishers, ${releaseThreshold} of them sign a release`, publishers),
    ...(members === 'open' ? ['members: whoever is invited'] : lines('members, beside those above', members)),
    ...lines('revoked', revoked)
  ])
}

/** Makes a root key here, for others to add. */
export async function create({ dataDir, json }: CommonOptions): Promise<void> {
  const rootKey = await createRootKey(dataDir)
  print(json, { rootKey }, [
    `root key ${rootKey}`,
    `It counts when a holder of a root key adds it:  murmurate keys add ${rootKey} --role root --data-dir <directory>`
  ])
}

/** Changes the root by one wish. */
export function change(wish: RootWish, options: ChangeOptions): Promise<void> {
  return finish(changeRoot(accessOf(options), [wish], components), options)
}

/** Replaces the root key here by a new one. */
export function rotate(options: ChangeOptions): Promise<void> {
  return finish(rotateRootKey(accessOf(options), components), options)
}

/** Signs a draft in its file. */
export async function sign(file: string, { dataDir, json }: CommonOptions): Promise<void> {
  const result = await signDraft(dataDir, await readDraft(file))
  await writeFile(file, `${result.draft}\n`)
  report(result, file, json)
}

/** Puts a draft in force. */
export async function apply(file: string, options: ReachOptions): Promise<void> {
  report(await applyDraft(accessOf(options), await readDraft(file), components), undefined, options.json)
}

function accessOf({ dataDir, peer: peers = [], discovery, out }: ChangeOptions): Parameters<typeof changeRoot>[0] {
  return { dataDir, peers, discovery, signal: signalled().signal, draftOnly: out !== undefined }
}

async function finish(changing: Promise<RootChangeResult>, { out, json }: ChangeOptions): Promise<void> {
  const result = await changing
  const { draft, missing, version } = result
  if (draft !== undefined && out === undefined) {
    const message = `Root ${version} is not in force: it needs signatures of enough of ${missing.join(', ')}. Run this again with --out FILE, and have them run "murmurate keys sign FILE"`
    throw new MurmurateError('NOT_PERMITTED', message, { details: { missing } })
  }
  if (draft !== undefined && out !== undefined) await writeNew(out, `${draft}\n`)
  report(result, out, json)
}

function report(result: RootChangeResult, file: string | undefined, json: boolean | undefined): void {
  const { version, changes, delivery, draft, missing } = result
  const value = { version, changes, missing, inForce: delivery !== undefined, confirmedBy: delivery?.confirmedBy ?? [] }
  const isFile = draft !== undefined && file !== undefined
  print(json, { ...value, ...(isFile ? { file } : {}) }, [
    `root version ${version}`,
    ...changes.map((line) => `  ${line}`),
    ...(isFile ? draftLines(file, missing) : deliveryLines(result))
  ])
}

function draftLines(file: string, missing: readonly string[]): string[] {
  const apply = `murmurate keys apply ${file} --data-dir <directory>`
  if (missing.length === 0) return [`All signatures are in ${file}. Put it in force:  ${apply}`]
  return [
    `Not in force yet: ${file} needs signatures of enough of these root keys ("murmurate keys sign" beside each):`,
    ...missing.map((key) => `  ${key}`),
    `and then  ${apply}`
  ]
}

function deliveryLines({ delivery }: RootChangeResult): string[] {
  const nodes = delivery?.confirmedBy.length ?? 0
  if (nodes > 0)
    return [`In force; ${nodes} node${nodes === 1 ? '' : 's'} confirmed it and give${nodes === 1 ? 's' : ''} it on.`]
  return [
    'On the disk here, but no other node was reached. This node gives it on when it runs; to reach the mesh now, do it again',
    'with --peer, or where a node of the mesh runs.'
  ]
}

async function readDraft(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new MurmurateError('INVALID_REQUEST', `The draft ${file} cannot be read`, { details: { file }, cause })
  }
}

async function writeNew(file: string, content: string): Promise<void> {
  try {
    await writeFile(file, content, { flag: 'wx' })
  } catch (cause) {
    throw new MurmurateError('INVALID_REQUEST', `The draft cannot be written to ${file}`, { details: { file }, cause })
  }
}
