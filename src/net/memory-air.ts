import type { Environment } from '../core/environment.js'
import type { NodeId } from '../core/ids.js'
import type { MemoryChannel, MemoryChannelEnd } from './memory-channel.js'
import type { MemoryWay } from './memory-way.js'
import type { GossipMessage } from './network.js'

/** What the air between the nodes is like. */
export interface MemoryHubInit {
  /** The same clock and the same seed give the same run. */
  readonly environment: Environment
  /** Least and most that anything takes from one node to the next, in ms. Default 1 to 5. */
  readonly latencyMs?: readonly [least: number, most: number]
  /** Part of the gossip that is lost on each hop, 0 to 1. Default 0. */
  readonly gossipLoss?: number
  /** Part of the packets of channels that is lost each way, 0 to 1: what is not acknowledged is repeated, as by TCP. Default 0. */
  readonly channelLoss?: number
  /** Part of the gossip that reaches a handler twice, 0 to 1. Default 0. */
  readonly gossipDuplication?: number
  /** Links that a node makes by itself; it takes any number from others. Default: to everyone. */
  readonly maxLinks?: number
  /** Neighbours that a node hands a gossip message to, drawn anew for each. Default: all. */
  readonly gossipDegree?: number
}

/** A gossip message on its way; `id` is the hash of topic and data. */
export interface MemoryGossip {
  readonly id: string
  readonly topic: string
  readonly data: GossipMessage['data']
}

/** What the hub needs of a node that is running. */
export interface MemoryNode {
  readonly nodeId: NodeId
  /** Peers that it was told to stay connected to. */
  readonly wanted: ReadonlySet<NodeId>
  linkUp(peer: NodeId): void
  linkDown(peer: NodeId): void
  /** Whether its guard lets a link to this peer stand. */
  mayLink(peer: NodeId): boolean
  /** Whether it wants the gossip of a topic. */
  subscribes(topic: string): boolean
  /** Whether this message would be nothing new to it. */
  hasHeard(id: string): boolean
  /** Bytes of gossip came in that are not worth a look. */
  countReceived(bytes: number): void
  /** Takes a gossip message, `again` when it is a duplicate that slipped through. */
  hear(message: MemoryGossip, sender: NodeId, again: boolean): void
  /** Takes the other end of a channel and returns the opener's, or undefined when it does not serve the protocol. */
  accept(protocol: string, link: MemoryLink, opener: MemoryChannelEnd, from: NodeId): MemoryChannel | undefined
}

/** A link between two nodes that are running. */
export interface MemoryLink {
  readonly ends: readonly [NodeId, NodeId]
  /** Both ends of each open channel, and its protocol. */
  readonly channels: Map<MemoryChannel, string>
  /** Both directions, by who sends; none where no packets of channels are lost. */
  readonly ways: ReadonlyMap<NodeId, MemoryWay>
  /** Nothing passes any more; it goes down as soon as that is noticed. */
  broken: boolean
}
