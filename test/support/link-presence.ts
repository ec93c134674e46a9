import type { Environment } from '../../src/core/environment.js'
import type { NodeId } from '../../src/core/ids.js'
import type { Startable } from '../../src/core/lifecycle.js'
import { Listeners } from '../../src/core/listeners.js'
import type { Logger } from '../../src/core/logger.js'
import { RecentMap } from '../../src/core/recent-map.js'
import type { Network, Unsubscribe } from '../../src/net/network.js'
import type { Presence, PresenceState } from '../../src/fleet/presence.js'

/** What presence by links is built from. */
export interface LinkPresenceComponents {
  readonly network: Network
  readonly environment: Environment
  readonly logger: Logger
}

/** As many nodes as one mesh is designed for; of more that went away, those that did so first are forgotten. */
const maxGone = 10_000

/** The simplest presence: who has a direct link is alive, who had one is not. Says nothing of nodes further away. */
export class LinkPresence implements Presence, Startable {
  readonly #components: LinkPresenceComponents
  readonly #listeners: Listeners<[nodes: readonly NodeId[]]>
  readonly #goneSince = new RecentMap<NodeId, number>(maxGone)
  #linked = new Set<NodeId>()
  #stop: Unsubscribe | undefined

  constructor(components: LinkPresenceComponents) {
    this.#components = components
    this.#listeners = new Listeners('presence', components.logger)
  }

  start(): void {
    const { network } = this.#components
    this.#stop ??= network.onPeer(({ type, peer }) => this.#onLink(type === 'connected', peer))
    this.#linked = new Set(network.peers())
    if (this.#linked.size > 0) this.#listeners.tell([...this.#linked])
  }

  stop(): void {
    this.#stop?.()
    this.#stop = undefined
    const known = [...this.#linked, ...Array.from(this.#goneSince, ([nodeId]) => nodeId)]
    this.#linked.clear()
    this.#goneSince.clear()
    if (known.length > 0) this.#listeners.tell(known)
  }

  stateOf(nodeId: NodeId): PresenceState {
    if (nodeId === this.#components.network.nodeId || this.#linked.has(nodeId)) return 'alive'
    return this.#goneSince.has(nodeId) ? 'failed' : 'unknown'
  }

  offlineSince(nodeId: NodeId): number | undefined {
    return this.#goneSince.get(nodeId)
  }

  onChange(listener: (nodes: readonly NodeId[]) => void): Unsubscribe {
    return this.#listeners.add(listener)
  }

  #onLink(linked: boolean, peer: NodeId): void {
    if (linked) {
      this.#linked.add(peer)
      this.#goneSince.delete(peer)
    } else {
      this.#linked.delete(peer)
      this.#goneSince.set(peer, this.#components.environment.clock.now())
    }
    this.#listeners.tell([peer])
  }
}
