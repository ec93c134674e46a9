import { makeLibp2pNetwork, testMesh } from '../support/libp2p.js'
import { networkContract, type NetworkFactory } from './network-contract.js'
import { networkGuardContract } from './network-guard-contract.js'

const makeFactory = (): NetworkFactory => {
  const mesh = testMesh()
  return {
    create: () => makeLibp2pNetwork(mesh),
    // Port 1 (tcpmux) is served nowhere: the kernel refuses at once.
    deadAddress: () => '/ip4/127.0.0.1/tcp/1'
  }
}

networkContract('libp2p', makeFactory)
networkGuardContract('libp2p', makeFactory)
