import { systemEnvironment } from '../../src/core/environment.js'
import { silentLogger } from '../../src/core/logger.js'
import { ephemeralKeyPair } from '../../src/identity/keypair.js'
import { createMeshSecret, deriveMeshKeys, type MeshKeys } from '../../src/identity/mesh-secret.js'
import { Libp2pNetwork, type Libp2pNetworkInit } from '../../src/net/libp2p-network.js'

/** The keys of a new mesh. */
export function testMesh(): MeshKeys {
  return deriveMeshKeys(createMeshSecret(systemEnvironment.random))
}

/** A network on loopback with a key of its own that finds nobody by itself. */
export async function makeLibp2pNetwork(
  meshKeys: MeshKeys,
  init: Partial<Libp2pNetworkInit> = {}
): Promise<Libp2pNetwork> {
  return new Libp2pNetwork({
    keyPair: await ephemeralKeyPair(systemEnvironment.random),
    meshKeys,
    listen: ['/ip4/127.0.0.1/tcp/0'],
    peers: [],
    discovery: false,
    environment: systemEnvironment,
    logger: silentLogger,
    ...init
  })
}
