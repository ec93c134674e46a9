import type { Connection, PeerId } from '@libp2p/interface'
import type { Clock } from '../core/environment.js'
import { messageOf } from '../core/errors.js'
import { parseNodeId, type NodeId } from '../core/ids.js'
import { Listeners } from '../core/listeners.js'
import type { Logger } from '../core/logger.js'
import type { Libp2pKnobs } from './libp2p-defaults.js'
import type { PeerEvent, Unsubscribe } from './network.js'
import type { TrafficMeter } from './traffic-meter.js'

/** What the table of links needs. */
export interface LinksInit {
  readonly self: NodeId
  readonly clock: Clock
  readonly logger: Logger
  readonly meter: TrafficMeter
  readonly knobs: Libp2pKnobs
}

interface Link {
  readonly connection: Connection
  readonly openedAtMs: number
  receivedBytes: number
  silentChecks: number
}

/** Protocol ids of gossipsub streams, whatever their version. */
const gossipProtocol = /^\/meshsub\//

/** Which peers have a link; decides between two links to the same peer; cuts links that fell silent. */
export class Links {
  readonly #init: LinksInit
  readonly #links = new Map<NodeId, Link[]>()
  readonly #heldUntilMs = new Map<NodeId, number>()
  /** Peers to which a connection is under way. */
  readonly #claimedUntilMs = new Map<NodeId, number>()
  readonly #listeners: Listeners<[event: PeerEvent]>

  constructor(init: LinksInit) {
    this.#init = init
    this.#listeners = new Listeners('peer events', init.logger)
  }

  /** Peers with a link. */
  get peers(): readonly NodeId[] {
    return [...this.#links.keys()]
  }

  has(peer: NodeId): boolean {
    return this.#links.has(peer)
  }

  /** An open connection to this peer, the newest one. */
  connection(peer: NodeId): Connection | undefined {
    return this.#links.get(peer)?.findLast((link) => link.connection.status === 'open')?.connection
  }

  onPeer(listener: (event: PeerEvent) => void): Unsubscribe {
    return this.#listeners.add(listener)
  }

  /** libp2p has a new connection. */
  opened(connection: Connection): void {
    const peer = nodeIdOf(connection.remotePeer)
    if (peer === undefined || connection.status !== 'open') return
    const link = { connection, openedAtMs: this.#init.clock.monotonic(), receivedBytes: 0, silentChecks: 0 }
    const others = this.#links.get(peer)
    this.#links.set(peer, [...(others ?? []), link])
    if (others === undefined) this.#listeners.tell({ type: 'connected', peer })
  }

  /** libp2p has lost a connection. Those that were never open are ignored. */
  lost(connection: Connection): void {
    const peer = nodeIdOf(connection.remotePeer)
    const links = peer === undefined ? undefined : this.#links.get(peer)
    if (peer === undefined || links === undefined) return
    this.#claimedUntilMs.delete(peer)
    const rest = links.filter((link) => link.connection.id !== connection.id)
    if (rest.length > 0) this.#links.set(peer, rest)
    else if (this.#links.delete(peer)) this.#listeners.tell({ type: 'disconnected', peer })
  }

  /** Cuts a link and keeps it down for a while. */
  async hold(peer: NodeId): Promise<void> {
    for (const held of this.#heldUntilMs.keys()) this.isHeld(held)
    this.#heldUntilMs.set(peer, this.#init.clock.monotonic() + this.#init.knobs.hangUpHoldMs)
    const links = this.#links.get(peer) ?? []
    await Promise.all(links.map(({ connection }) => closeOrAbort(connection)))
    for (const { connection } of links) this.lost(connection)
  }

  /** Cuts a link at once. */
  cut(peer: NodeId, reason: string): void {
    this.#init.logger.info(`cutting the link to ${peer}: ${reason}`)
    for (const { connection } of this.#links.get(peer) ?? []) connection.abort(new Error(reason))
  }

  /** The network has stopped: no link is left. */
  clear(): void {
    for (const link of [...this.#links.values()].flat()) this.lost(link.connection)
    this.#heldUntilMs.clear()
    this.#claimedUntilMs.clear()
  }

  /** Whether this peer was hung up on and may not come back yet. */
  isHeld(peer: NodeId): boolean {
    const until = this.#heldUntilMs.get(peer)
    if (until === undefined || until > this.#init.clock.monotonic()) return until !== undefined
    this.#heldUntilMs.delete(peer)
    return false
  }

  /** This peer may come back. */
  release(peer: NodeId): void {
    this.#heldUntilMs.delete(peer)
  }

  /**
   * Whether a connection is refused now that its peer is known (`secured`) or at the last moment (`upgraded`). Either is before
   * any stream can be opened on it: a second connection that is closed later takes gossipsub's streams with it, and gossipsub
   * does not open them again.
   *
   * When both sides dial at once, the node with the smaller id takes the first and refuses the other, so that exactly one
   * stays; a link that is open here is thus its choice. A peer that dials although our old link looks sound has lost its end of
   * it: the old link goes.
   */
  refuses(peer: NodeId | undefined, direction: Connection['direction'], stage: 'secured' | 'upgraded'): boolean {
    if (peer === undefined || (direction === 'inbound' && this.isHeld(peer))) return true
    const now = this.#init.clock.monotonic()
    const open = (this.#links.get(peer) ?? []).filter((link) => link.connection.status === 'open')
    if (open.length === 0) return stage === 'secured' && !this.#claims(peer, now)
    if (direction === 'outbound') return true
    const youngest = Math.max(...open.map((link) => link.openedAtMs))
    if (now - youngest < this.#init.knobs.simultaneousDialMs) return this.#init.self < peer
    for (const { connection } of open) connection.abort(new Error('The peer has made a new connection'))
    return false
  }

  /** Our own dial to this peer failed: it no longer stands in the way of the peer's. */
  dialFailed(peer: NodeId): void {
    this.#claimedUntilMs.delete(peer)
  }

  /** The first of two connections under way claims the peer. Only the smaller id counts claims, as above. */
  #claims(peer: NodeId, now: number): boolean {
    if (this.#init.self > peer) return true
    for (const [claimed, untilMs] of this.#claimedUntilMs) if (untilMs <= now) this.#claimedUntilMs.delete(claimed)
    if (this.#claimedUntilMs.has(peer)) return false
    this.#claimedUntilMs.set(peer, now + this.#init.knobs.simultaneousDialMs)
    return true
  }

  /** To be called every `livenessCheckMs`: cuts links that brought no byte for several checks, or carry no gossip. */
  check(): void {
    for (const [peer, links] of this.#links) {
      for (const link of links) {
        const reason = this.#faultOf(link)
        if (reason === undefined) continue
        this.#init.logger.info(`cutting the link to ${peer}: ${reason}`)
        link.connection.abort(new Error(reason))
      }
    }
  }

  #faultOf(link: Link): string | undefined {
    const { clock, knobs, meter } = this.#init
    const receivedBytes = meter.receivedBytes(link.connection)
    link.silentChecks = receivedBytes > link.receivedBytes ? 0 : link.silentChecks + 1
    link.receivedBytes = receivedBytes
    if (link.silentChecks >= knobs.silentChecksAllowed) return 'nothing was heard from it'
    const grown = clock.monotonic() - link.openedAtMs > knobs.gossipGraceMs
    return grown && !carriesGossip(link.connection) ? 'its gossip streams are gone' : undefined
  }
}

/** The node id of a libp2p peer, or undefined when its key is not Ed25519. */
export function nodeIdOf(peerId: PeerId): NodeId | undefined {
  try {
    return parseNodeId(peerId.toString())
  } catch {
    return undefined
  }
}

/** Whether gossip can flow both ways: without either stream the link is deaf or dumb for good. */
function carriesGossip(connection: Connection): boolean {
  const gossip = connection.streams.filter((stream) => gossipProtocol.test(stream.protocol))
  const speaks = gossip.some((stream) => stream.direction === 'outbound' && stream.writeStatus === 'writable')
  const hears = gossip.some((stream) => stream.direction === 'inbound' && stream.remoteWriteStatus === 'writable')
  return speaks && hears
}

async function closeOrAbort(connection: Connection): Promise<void> {
  try {
    await connection.close()
  } catch (cause) {
    connection.abort(cause instanceof Error ? cause : new Error(messageOf(cause)))
  }
}
