import { readFile } from 'node:fs/promises'
import { MurmurateError, messageOf } from '../core/errors.js'
import { createNode, type ModelConvergenceStatus, type MurmurateNode } from '../index.js'

/** Options of `murmurate up`. */
export interface UpOptions {
  readonly dataDir: string
  readonly secretFile: string
  readonly name?: string
  readonly listen?: readonly string[]
  readonly peer?: readonly string[]
  readonly discovery: boolean
  /** `model@version=file` each. */
  readonly publish?: readonly string[]
}

/** Runs a node until it is told to stop by a signal. */
export async function up(options: UpOptions): Promise<void> {
  const publications = (options.publish ?? []).map(parsePublication)
  const { dataDir, name, listen, peer: peers, discovery } = options
  const secret = await readSecret(options.secretFile)
  const node = await createNode({
    dataDir,
    secret,
    discovery,
    ...(name === undefined ? {} : { name }),
    ...(listen === undefined ? {} : { listen }),
    ...(peers === undefined ? {} : { peers })
  })
  const stopped = signalled()
  await node.start()
  try {
    console.log(`node ${node.id}`)
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

interface Publication {
  readonly model: string
  readonly version: string
  readonly path: string
}

function parsePublication(text: string): Publication {
  const [, model, version, path] = /^([^@=]+)@([^=]+)=(.+)$/.exec(text) ?? []
  if (model !== undefined && version !== undefined && path !== undefined) return { model, version, path }
  throw new MurmurateError('INVALID_REQUEST', `--publish ${JSON.stringify(text)} is not of the form model@version=file`)
}

async function readSecret(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new MurmurateError('INVALID_REQUEST', `The secret file ${path} cannot be read`, { details: { path }, cause })
  }
}

/** Settles when the process is asked to end; the same signal again ends it at once. */
function signalled(): { readonly promise: Promise<void>; readonly signal: AbortSignal } {
  const { promise, resolve } = Promise.withResolvers<void>()
  const controller = new AbortController()
  const onSignal = (): void => {
    controller.abort()
    resolve()
  }
  process.once('SIGINT', onSignal)
  process.once('SIGTERM', onSignal)
  return { promise, signal: controller.signal }
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
