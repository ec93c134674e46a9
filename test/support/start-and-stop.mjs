// Starts two nodes from dist/, links them, stops them. Says nothing when all went well; the process must end by itself.
import { systemEnvironment } from '../../dist/core/environment.js'
import { silentLogger } from '../../dist/core/logger.js'
import { ephemeralKeyPair } from '../../dist/identity/keypair.js'
import { createMeshSecret, deriveMeshKeys } from '../../dist/identity/mesh-secret.js'
import { Libp2pNetwork } from '../../dist/net/libp2p-network.js'

const meshKeys = deriveMeshKeys(createMeshSecret(systemEnvironment.random))
const init = { meshKeys, listen: ['/ip4/127.0.0.1/tcp/0'], peers: [], discovery: true }
const make = async () => {
  const keyPair = await ephemeralKeyPair(systemEnvironment.random)
  return new Libp2pNetwork({ ...init, keyPair, environment: systemEnvironment, logger: silentLogger })
}
const signalListeners = () => ['SIGINT', 'SIGTERM'].map((name) => process.listenerCount(name)).join()
const before = signalListeners()
const [one, two] = [await make(), await make()]
await Promise.all([one.start(), two.start()])
await one.dial(two.addresses()[0])
if (signalListeners() !== before) console.log('signal handlers were added')
await Promise.all([one.stop(), two.stop()])
