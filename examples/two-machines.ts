/**
 * One node for a real network: run it on each machine.
 *
 * On the first machine, with the model (the secret file is made when it is missing; keep it to yourself):
 * ```
 * node two-machines.js --data-dir ./murmurate-data --secret-file ./mesh.secret --publish ./model.safetensors
 * ```
 * Bring the secret to the second machine, `scp mesh.secret second:`, and there:
 * ```
 * node two-machines.js --data-dir ./murmurate-data --secret-file ./mesh.secret
 * ```
 * The two find each other by mDNS, UDP port 5353 within one network segment. Where multicast is off (many wireless
 * networks, containers, between segments), give one of them a fixed port and tell the other where it is:
 * ```
 * first:   ... --listen /ip4/0.0.0.0/tcp/4100
 * second:  ... --peer /ip4/192.168.1.10/tcp/4100 --no-discovery
 * ```
 * A firewall must let that TCP port in on one of the two. The model appears in `<data-dir>/models/<model>/current/`.
 * Start, stop and unplug either machine as you like: each goes on where it was. Ctrl-C ends.
 *
 * In this repository: `npm run build && npm run build:bench`, then `node .build/examples/two-machines.js ...`.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { createMeshSecret, createNode, type MurmurateNode } from 'murmurate'

const { values } = parseArgs({
  options: {
    'data-dir': { type: 'string', default: './murmurate-data' },
    'secret-file': { type: 'string', default: './mesh.secret' },
    listen: { type: 'string', multiple: true, default: ['/ip4/0.0.0.0/tcp/0'] },
    peer: { type: 'string', multiple: true, default: [] },
    'no-discovery': { type: 'boolean', default: false },
    publish: { type: 'string' },
    model: { type: 'string', default: 'target_recognition' },
    version: { type: 'string', default: '1.0.0' }
  }
})

/** Reads the secret of the mesh; the first machine makes it, readable for its owner alone. */
async function readOrMakeSecret(path: string): Promise<string> {
  try {
    await writeFile(path, createMeshSecret(), { flag: 'wx', mode: 0o600 })
    console.log(`made a new mesh secret: ${path}`)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  return readFile(path, 'utf8')
}

/** Prints who is there, after each change. */
function printMembers(node: MurmurateNode): void {
  const members = node.fleet.members().map(({ name, online }) => (online ? name : `${name} (offline)`))
  console.log(`members: ${members.join(', ')}`)
}

/** Prints the verdict after each change, the same on both machines, until stopped. */
async function printVerdicts(node: MurmurateNode, signal: AbortSignal): Promise<void> {
  const { model, version } = values
  const verdicts = node.distribution.subscribeConvergence(model, version, { wait: true, follow: true, signal })
  for await (const { converged, totalPlatforms, estimatedCompletion, blockers } of verdicts) {
    const eta = estimatedCompletion === undefined ? '' : `, ${Math.ceil(estimatedCompletion / 1000)} s to go`
    console.log(`${model} ${version}: ${converged} of ${totalPlatforms} converged${eta}`)
    for (const { nodeId, reason, message } of blockers) console.log(`  ${nodeId}: ${reason}: ${message}`)
  }
}

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())

const node = await createNode({
  dataDir: values['data-dir'],
  secret: await readOrMakeSecret(values['secret-file']),
  listen: values.listen,
  peers: values.peer,
  discovery: !values['no-discovery']
})
await node.start()
try {
  console.log(`node ${node.id}`)
  for (const address of node.addresses) console.log(`listens on ${address}`)
  console.log(`models appear in ${join(resolve(values['data-dir']), 'models')}`)
  node.fleet.onChange(() => printMembers(node))
  if (values.publish !== undefined) {
    const files = [{ path: values.publish }]
    const { id } = await node.models.publish(values.model, values.version, [{ id: 'default', files }], {
      signal: stop.signal
    })
    // Started again with the same options, it orders nothing new and overrules nobody who did meanwhile.
    const orders = node.distribution.rollouts(values.model).map(({ distributionHandle }) => distributionHandle.release)
    if (!orders.includes(id)) await node.distribution.distributeModel(values.model, values.version)
  }
  await printVerdicts(node, stop.signal)
} catch (error) {
  // Whatever waits when Ctrl-C comes ends with an error of its own, which is no news.
  if (!stop.signal.aborted) throw error
} finally {
  await node.stop()
}
