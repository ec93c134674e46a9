// A node for tests, from dist/. Usage: node lan-node.mjs <mesh secret> <listen address> [peer address...]
// It writes a JSON line for all that happens; each line that it reads is published on the topic `news`.
import { createInterface } from 'node:readline'
import { systemEnvironment } from '../../dist/core/environment.js'
import { ephemeralKeyPair } from '../../dist/identity/keypair.js'
import { deriveMeshKeys } from '../../dist/identity/mesh-secret.js'
import { Libp2pNetwork } from '../../dist/net/libp2p-network.js'

const [secret, listen, ...peers] = process.argv.slice(2)
const tell = (event) => process.stdout.write(`${JSON.stringify({ ...event, atMs: Date.now() })}\n`)
const log = (level) => (message) => tell({ type: 'log', level, message })
const network = new Libp2pNetwork({
  keyPair: await ephemeralKeyPair(systemEnvironment.random),
  meshKeys: deriveMeshKeys(secret),
  listen: [listen],
  peers,
  discovery: true,
  environment: systemEnvironment,
  logger: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
})
network.onPeer(tell)
network.subscribe('news', ({ data }) => {
  tell({ type: 'heard', text: Buffer.from(data).toString() })
  return 'accept'
})
await network.start()
tell({ type: 'started', peer: network.nodeId, addresses: network.addresses() })
createInterface({ input: process.stdin }).on('line', (line) => {
  if (line !== 'usage') return void network.publish('news', Buffer.from(line))
  tell({
    type: 'usage',
    cpu: process.cpuUsage(),
    memory: process.memoryUsage(),
    traffic: network.traffic(),
    peers: network.peers().length
  })
})
