import { afterEach, test } from 'vitest'
import { systemEnvironment } from '../../src/core/environment.js'
import type { Libp2pNetwork } from '../../src/net/libp2p-network.js'
import { makeLibp2pNetwork, testMesh } from '../support/libp2p.js'
import { until } from '../support/until.js'

/** More than the 12 peers that gossipsub keeps in a mesh by default. */
const leafCount = 16
const topic = 'news'
let networks: Libp2pNetwork[] = []

afterEach(async () => {
  await Promise.all(networks.map((network) => network.stop()))
  networks = []
})

test('[NET-21] a node that all others dial passes messages on to each of them at once, not to 12', async () => {
  const keys = testMesh()
  const start = async (peers: readonly string[]): Promise<Libp2pNetwork> => {
    const network = await makeLibp2pNetwork(keys, { peers, knobs: { gossipHeartbeatMs: 50 } })
    networks.push(network)
    network.subscribe(topic, () => 'accept')
    await network.start()
    return network
  }
  const hub = await start([])
  for (let leaf = 0; leaf < leafCount; leaf++) await start(hub.addresses())
  // Publishing sends to the topic's mesh only and tells to how many; the others would get an offer at some heartbeat.
  const recipients = (): Promise<number> => hub.publish(topic, systemEnvironment.random.bytes(32))
  await until('all leaves to be in the mesh of the hub', async () => (await recipients()) === leafCount)
})
