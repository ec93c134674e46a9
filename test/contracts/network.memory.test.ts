import { systemEnvironment } from '../../src/core/environment.js'
import { ephemeralKeyPair } from '../../src/identity/keypair.js'
import { MemoryHub, MemoryNetwork } from '../../src/net/memory-network.js'
import { seededRandom } from '../support/virtual-clock.js'
import { networkContract, type NetworkFactory } from './network-contract.js'
import { networkGuardContract } from './network-guard-contract.js'

const makeFactory = (): NetworkFactory => {
  const random = seededRandom(1)
  const hub = new MemoryHub({ environment: { clock: systemEnvironment.clock, random }, latencyMs: [0, 2], maxLinks: 0 })
  const nobody = '12D3KooWBNtyNJ47jwMvmJvWAWS32WTugSGitPMQKiCLHJoqp3uK'
  return {
    create: async () => new MemoryNetwork({ nodeId: (await ephemeralKeyPair(random)).nodeId, hub }),
    deadAddress: () => `/memory/${nobody}/p2p/${nobody}`
  }
}

networkContract('in memory', makeFactory)
networkGuardContract('in memory', makeFactory)
