import type { Environment } from '../core/environment.js'
import type { Logger } from '../core/logger.js'
import type { KeyPair } from '../identity/keypair.js'
import type { Network } from '../net/network.js'
import type { PresencePreset } from './presence-presets.js'

/** What the neighbour watch is built from. */
export interface NeighbourWatchComponents {
  readonly network: Network
  readonly keyPair: KeyPair
  readonly environment: Environment
  readonly logger: Logger
}

/** Settings of the neighbour watch. */
export interface NeighbourWatchInit {
  /** Gossip topic. */
  readonly topic: string
  readonly preset: PresencePreset
  /** Nodes remembered. @default 10000 */
  readonly maxNodes?: number
}
