import type { AbortOptions } from '../core/abort.js'
import { MurmurateError } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'

/** Stops listening. */
export type Unsubscribe = () => void

/** A direct link to a peer came up or went down. */
export interface PeerEvent {
  readonly type: 'connected' | 'disconnected'
  readonly peer: NodeId
}

/** What to do with a gossip message: pass it on, drop it quietly, or drop it and hold it against the peer that sent it. */
export type GossipVerdict = 'accept' | 'ignore' | 'reject'

/** A gossip message as it came in. The sender is who passed it on, not who wrote it. */
export interface GossipMessage {
  readonly sender: NodeId
  readonly data: Uint8Array
}

/**
 * What knocking at a peer's port found: a process that `answers`, a machine that has none there and `refused` it, or nothing
 * at all (`silent`: also when no address of it is known).
 */
export type ProbeResult = 'answers' | 'refused' | 'silent'

/** Options of a protocol that a node serves. */
export interface ServeOptions {
  /** A peer that announces a larger frame is cut off before anything is allocated. */
  readonly maxFrameBytes: number
}

/** Options of opening a channel. */
export interface OpenOptions extends AbortOptions, ServeOptions {}

/**
 * A stream of length-bounded frames to one peer.
 *
 * Reading has back-pressure: while nobody pulls from `frames()`, at most a few frames wait in memory and the peer is
 * held back. Only one reader at a time.
 */
export interface Channel {
  readonly peer: NodeId
  /**
   * Sends one frame, given as parts that are put together on the wire without being copied here: they must not change until
   * it resolves. It resolves when the channel can take more. Frames sent without waiting stay whole and in order.
   *
   * A signal ends the wait; the frame may get out all the same.
   *
   * @throws MurmurateError `NETWORK_ERROR` when the channel is closed, `FRAME_TOO_LARGE` above its limit, `ABORTED`
   */
  send(parts: readonly Uint8Array[], options?: AbortOptions): Promise<void>
  /**
   * Each frame as it comes in. Leaving the loop keeps the rest for the next call, and the channel open. A small frame may be a
   * view of a larger buffer: copy what is kept for long.
   *
   * Ends when the peer has closed; throws `NETWORK_ERROR` when the link broke or the peer aborted, `FRAME_TOO_LARGE` when the
   * peer announced a frame above the limit, `INVALID_REQUEST` when someone else is reading.
   */
  frames(): AsyncIterable<Uint8Array>
  /** Says that nothing more will be sent, lets what was sent get out, and frees the channel once the peer closed too. */
  close(): Promise<void>
  /** Frees the channel at once, both ways. Idempotent. */
  abort(reason: Error): void
}

/** Which peers may use what of this node. It is asked at each use, so it may change its mind: then `recheck` is to be called. */
export interface PeerGuard {
  /** Whether a link to this peer may stand at all. */
  mayLink(peer: NodeId): boolean
  /** Whether channels of this protocol may be opened to and by this peer, and messages of this topic go to it or come from it. */
  mayUse(peer: NodeId, protocolOrTopic: string): boolean
}

/** Lets everyone who knows the mesh secret use everything. */
export const openGuard: PeerGuard = Object.freeze({ mayLink: () => true, mayUse: () => true })

/**
 * What the rest of the library needs of a network: links to peers, gossip to all, and channels to one.
 * Peers are authenticated: a `NodeId` handed out here was proved by its key.
 * Two implementations: libp2p, and a seeded one in memory for tests and simulation.
 */
export interface Network extends Startable {
  /** This node. */
  readonly nodeId: NodeId
  /** Peers with a direct link at this moment. */
  peers(): readonly NodeId[]
  /** Addresses that others can dial, as multiaddrs ending in `/p2p/<id>`. Empty before start. */
  addresses(): readonly string[]
  /** Hears of links that come and go: one `connected`, then one `disconnected`, however many connections a link is made of. */
  onPeer(listener: (event: PeerEvent) => void): Unsubscribe
  /**
   * Sends a message to every subscriber of a topic in the mesh, over several hops, sometimes not or twice.
   * Resolves to the number of neighbours it was handed to.
   *
   * Bytes that were published on this topic within two minutes go to nobody again.
   *
   * @throws MurmurateError `INVALID_REQUEST` above `maxGossipBytes`, `NOT_STARTED`
   */
  publish(topic: string, data: Uint8Array): Promise<number>
  /**
   * Receives the messages of a topic; the handler's verdict decides whether they travel on. One handler a topic: a second
   * one is refused with `INVALID_REQUEST`. Stays over stop and start.
   */
  subscribe(topic: string, handler: (message: GossipMessage) => GossipVerdict): Unsubscribe
  /**
   * Opens a channel to a connected peer.
   *
   * @throws MurmurateError `NETWORK_ERROR` when there is no link or the peer does not speak the protocol
   */
  open(peer: NodeId, protocol: string, options: OpenOptions): Promise<Channel>
  /**
   * Accepts channels of a protocol. When the handler resolves, what it sent still gets out and the channel is freed; when it
   * rejects, the channel is aborted. One handler a protocol: a second one is refused with `INVALID_REQUEST`. Stays over stop
   * and start.
   */
  serve(protocol: string, handler: (channel: Channel) => Promise<void>, options: ServeOptions): Unsubscribe
  /**
   * Dials a multiaddr, resolves to who answered, and from then on dials it again whenever the link is lost.
   *
   * @throws MurmurateError `NETWORK_ERROR` when nobody of this mesh answers within seconds: it is then not tried again;
   * `INVALID_REQUEST` when it is malformed, `NOT_STARTED`, `ABORTED`
   */
  dial(address: string, options?: AbortOptions): Promise<NodeId>
  /**
   * Knocks once at the addresses that are known of a peer, without making a link. It proves nothing of who listens there.
   *
   * @throws MurmurateError `NOT_STARTED`, `ABORTED`
   */
  probe(peer: NodeId, options?: AbortOptions): Promise<ProbeResult>
  /** Cuts the link to a peer, and keeps it down for a minute unless `dial` is called here: the peer may not come back before. */
  hangUp(peer: NodeId): Promise<void>
  /**
   * Sets who decides which peers may use what. What is not allowed is refused without blame: links when the peer is known,
   * channels when they are opened on either side, messages when they come in or would go out. Stays over stop and start.
   */
  guard(guard: PeerGuard): void
  /** The guard has changed its mind: links and channels that it no longer allows are cut. A peer that it allows again may come at once. */
  recheck(): void
  /** Bytes sent and received over all links since start. */
  traffic(): { readonly sentBytes: number; readonly receivedBytes: number }
}

/** Largest gossip message. gossipsub drops those above about 4 MiB silently; ours stay far below. */
export const maxGossipBytes = 256 * 1024

/** What a peer gets to hear that the guard does not allow: a stranger, to whom this node is not open. */
export function notAllowed(peer: NodeId, protocol: string): MurmurateError {
  return new MurmurateError('NETWORK_ERROR', `${peer} may not use ${protocol}`, { details: { peer, protocol } })
}
