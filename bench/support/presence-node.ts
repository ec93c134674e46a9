/**
 * One murmurate node that prints what it sees of the others, a JSON object a line: `{id}` once it runs, then `{subject, state}`
 * for each member that comes, goes or changes. SIGUSR2 makes it publish a small release, which is a change of state.
 * Usage: presence-node.js <data directory> <secret> <listen address> [peer address...]
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createNode, type MurmurateNode } from 'murmurate'

const [dataDir = '', secret = '', listen = '', ...peers] = process.argv.slice(2)
const tell = (line: Record<string, string>): void => void process.stdout.write(`${JSON.stringify(line)}\n`)
const node = await createNode({ dataDir, secret, listen: [listen], peers, discovery: false })
const told = new Map<string, string>()

function tellChanges({ fleet }: MurmurateNode): void {
  for (const { nodeId, online } of fleet.members()) {
    const state = online ? 'alive' : 'failed'
    if (nodeId !== node.id && told.get(nodeId) !== state) tell({ subject: nodeId, state })
    told.set(nodeId, state)
  }
}

let changes = 0
async function change(): Promise<void> {
  changes += 1
  const path = join(dataDir, 'change')
  writeFileSync(path, `${node.id} ${changes}`)
  await node.models.publish(`of-${node.id.slice(-8).toLowerCase()}`, `1.0.${changes}`, [
    { id: 'default', files: [{ path }] }
  ])
}

node.models.onRelease((model) => {
  for (const version of node.models.versions(model).slice(0, 1)) {
    tell({ subject: node.models.require(model, version).publisher, state: 'changed' })
  }
})
node.fleet.onChange(() => tellChanges(node))
process.on('SIGUSR2', () => void change())
process.on('SIGTERM', () => void stop())
await node.start()
tell({ id: node.id })
tellChanges(node)

async function stop(): Promise<void> {
  await node.stop()
  process.exit()
}
