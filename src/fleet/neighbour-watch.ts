/**
 * Presence by neighbour watch: each node watches a few linked peers and tells the mesh when one does not answer.
 *
 * Goals: everyone knows the state of everyone, for a traffic that depends on the links of a node and not on the size of the
 * fleet; a death is known in about a second, a silent cut in seven; slow, lossy and stopped nodes accuse nobody wrongly.
 * Non-goals: proof. It is a view: two nodes may differ for seconds, and across a partition for as long as that lasts.
 *
 * What a hostile member can do: accuse anyone, which the accused refutes; hide that a peer is dead from those that ask it, as
 * long as it is among their helpers; keep a peer suspected by accusing it after each refutation. What it cannot: fail a node
 * that can refute, speak for another, or fill the memory. Two that pretend hard evidence can fail a node where its refutation
 * takes longer than `hardMs` and there is no link to it, until the refutation comes.
 */
import { withDeadline } from '../core/abort.js'
import { messageOf } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import { Listeners } from '../core/listeners.js'
import type { Unsubscribe } from '../net/network.js'
import { OwnIncarnation } from './incarnation.js'
import type { NeighbourWatchComponents, NeighbourWatchInit } from './neighbour-watch-init.js'
import type { Presence, PresenceState } from './presence.js'
import { Topology, type LinkQuality } from './topology.js'
import { WatchSession } from './watch-session.js'

/** A link as its node sees it. */
export interface WatchedLink extends LinkQuality {
  /** `incoming` when others hear the peer and this node does not, `outgoing` when the peer says that it does not hear this node. */
  readonly impaired: 'incoming' | 'outgoing' | undefined
}

/** How long a goodbye may take, ms: a peer that takes nothing must not hold up a stop. */
const leaveMs = 500

/** Who is here, from neighbours that watch each other. */
export class NeighbourWatch implements Presence, Startable {
  readonly #components: NeighbourWatchComponents
  readonly #init: NeighbourWatchInit
  readonly #topology = new Topology()
  readonly #own: OwnIncarnation
  readonly #listeners: Listeners<[nodes: readonly NodeId[]]>
  readonly #offlineSince = new Map<NodeId, number>()
  #session: WatchSession | undefined

  constructor(components: NeighbourWatchComponents, init: NeighbourWatchInit) {
    this.#components = components
    this.#init = init
    this.#listeners = new Listeners('presence', components.logger)
    this.#own = new OwnIncarnation(components.keyPair, components.environment.clock.now())
  }

  /** Best before the network starts: then no peer finds it missing. */
  start(): void {
    if (this.#session !== undefined) return
    this.#own.restart(this.#components.environment.clock.now())
    const onChange = (nodes: readonly NodeId[]): void => this.#onChange(nodes)
    this.#session = new WatchSession(this.#components, {
      ...this.#init,
      own: this.#own,
      topology: this.#topology,
      onChange
    })
    this.#session.start()
  }

  /** Before the network stops: tells the mesh that this node leaves, so that nobody suspects it. Harmless at any time. */
  async leave(): Promise<void> {
    const { environment, logger } = this.#components
    const session = this.#session
    if (session === undefined) return
    await withDeadline(environment.clock, leaveMs, () => session.leave()).catch((error: unknown) =>
      logger.debug(`the goodbye did not get out whole: ${messageOf(error)}`)
    )
  }

  stop(): void {
    this.#session?.stop()
    this.#session = undefined
    this.#offlineSince.clear()
  }

  stateOf(nodeId: NodeId): PresenceState {
    if (this.#session !== undefined && nodeId === this.#components.network.nodeId) return 'alive'
    return this.#session?.stateOf(nodeId) ?? 'unknown'
  }

  offlineSince(nodeId: NodeId): number | undefined {
    return this.#offlineSince.get(nodeId)
  }

  onChange(listener: (nodes: readonly NodeId[]) => void): Unsubscribe {
    return this.#listeners.add(listener)
  }

  /** A transfer from or to a peer moved this many bytes in this time. */
  observe(peer: NodeId, bytes: number, ms: number): void {
    this.#topology.observe(peer, bytes, ms)
  }

  /** What was measured of the links of this node, and which of them work one way only. */
  links(): WatchedLink[] {
    return this.#topology.links().map((link) => ({ ...link, impaired: this.#session?.impairment(link.peer) }))
  }

  #onChange(nodes: readonly NodeId[]): void {
    for (const nodeId of nodes) {
      const isGone = ['failed', 'left'].includes(this.stateOf(nodeId))
      if (!isGone) this.#offlineSince.delete(nodeId)
      else if (!this.#offlineSince.has(nodeId)) this.#offlineSince.set(nodeId, this.#components.environment.clock.now())
    }
    this.#listeners.tell(nodes)
  }
}
