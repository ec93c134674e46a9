import { makeLibp2pNetwork, testMesh } from '../support/libp2p.js'
import { networkContract } from './network-contract.js'

networkContract('libp2p', () => {
  const mesh = testMesh()
  return {
    create: () => makeLibp2pNetwork(mesh),
    // Port 1 (tcpmux) is served nowhere: the kernel refuses at once.
    deadAddress: () => '/ip4/127.0.0.1/tcp/1'
  }
})
