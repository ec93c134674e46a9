// A whole node for tests, from dist/. Usage: lan-member.mjs <mesh secret> <data directory> <name>
// It writes a JSON line `{ members: { <name>: <what is believed of it> } }` whenever that changes.
import { createNode } from '../../dist/index.js'

const [secret, dataDir, name] = process.argv.slice(2)
const node = await createNode({ secret, dataDir, name })
let told = ''
function tell() {
  const members = Object.fromEntries(node.fleet.members().map((member) => [member.name, member.presence]))
  const line = JSON.stringify({ members })
  if (line !== told) process.stdout.write(`${line}\n`)
  told = line
}
node.fleet.onChange(tell)
await node.start()
tell()
