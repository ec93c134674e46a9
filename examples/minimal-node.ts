/**
 * The smallest node: joins a mesh, says who and where it is, and stops on Ctrl-C.
 *
 * ```
 * node minimal-node.js                                            a new mesh; prints its secret
 * MESH_SECRET=murmurate-secret-1:... node minimal-node.js --data-dir ./second     one more node of that mesh
 * ```
 *
 * `--once` ends by itself. In this repository: `npm run build && npm run build:bench`, then
 * `node .build/examples/minimal-node.js`.
 */
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { createMeshSecret, createNode } from 'murmurate'

const { values } = parseArgs({
  options: {
    'data-dir': { type: 'string', default: './murmurate-data' },
    listen: { type: 'string', multiple: true },
    once: { type: 'boolean', default: false }
  }
})
const secret = process.env['MESH_SECRET'] ?? createMeshSecret()
const listen = values.listen === undefined ? {} : { listen: values.listen }
// Before the start, so that a signal which comes while the node starts also ends it properly.
const stop = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])

const node = await createNode({ dataDir: values['data-dir'], secret, ...listen })
await node.start()
console.log(`node ${node.id}`)
for (const address of node.addresses) console.log(`listens on ${address}`)
if (process.env['MESH_SECRET'] === undefined) console.log(`to join: MESH_SECRET=${secret}`)

if (!values.once) await stop
await node.stop()
console.log('stopped')
