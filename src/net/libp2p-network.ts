import '../core/polyfill.js'
import type { PeerId } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { every, type Environment, type Timer } from '../core/environment.js'
import { MurmurateError } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import { componentLogger, type Logger } from '../core/logger.js'
import type { KeyPair } from '../identity/keypair.js'
import type { MeshKeys } from '../identity/mesh-secret.js'
import { isDialable, listenError, parseDialAddress, parseListenAddress, withPeer } from './address.js'
import { Discovery } from './discovery.js'
import { Libp2pDialer } from './libp2p-dialer.js'
import { libp2pDefaults, type Libp2pKnobs } from './libp2p-defaults.js'
import { Libp2pGossip, type GossipHandler } from './libp2p-gossip.js'
import type { BuiltNode, Refusal } from './libp2p-node.js'
import { Libp2pProtocols, type ChannelHandler } from './libp2p-protocols.js'
import { Links, nodeIdOf } from './links.js'
import {
  openGuard,
  type Channel,
  type Network,
  type OpenOptions,
  type PeerEvent,
  type PeerGuard,
  type ProbeResult,
  type ServeOptions,
  type Unsubscribe
} from './network.js'
import { probeAddresses } from './probe.js'
import { Redialer } from './redial.js'
import { TrafficMeter } from './traffic-meter.js'

/** What a libp2p network is made of. */
export interface Libp2pNetworkInit {
  readonly keyPair: KeyPair
  readonly meshKeys: MeshKeys
  /** Multiaddrs to listen on, `/ip4/0.0.0.0/tcp/0`. */
  readonly listen: readonly string[]
  /** Multiaddrs of peers to stay connected to. */
  readonly peers: readonly string[]
  /** Whether to find peers on the local network by mDNS. */
  readonly discovery: boolean
  readonly environment: Environment
  readonly logger: Logger
  /** Other figures than the defaults. */
  readonly knobs?: Partial<Libp2pKnobs>
}

/**
 * The network over libp2p: TCP, a private network key, noise, yamux, identify, mDNS and gossipsub. libp2p itself is loaded at
 * the first start. Each start makes a new libp2p node; subscriptions and served protocols stay over restarts.
 */
export class Libp2pNetwork implements Network {
  readonly nodeId: NodeId
  readonly #init: Libp2pNetworkInit
  readonly #knobs: Libp2pKnobs
  readonly #logger: Logger
  readonly #meter = new TrafficMeter()
  readonly #links: Links
  readonly #gossip: Libp2pGossip
  readonly #protocols: Libp2pProtocols
  readonly #dialer: Libp2pDialer
  readonly #redialer: Redialer
  readonly #discovery: Discovery
  #guard = openGuard
  #node: BuiltNode | undefined
  #liveness: Timer | undefined
  #transition: Promise<void> = Promise.resolve()

  constructor(init: Libp2pNetworkInit) {
    this.nodeId = init.keyPair.nodeId
    this.#init = init
    this.#knobs = { ...libp2pDefaults, ...init.knobs }
    this.#logger = componentLogger(init.logger, 'net')
    const shared = {
      clock: init.environment.clock,
      logger: this.#logger,
      knobs: this.#knobs,
      mayUse: (peer: NodeId, name: string) => this.#guard.mayUse(peer, name)
    }
    this.#links = new Links({ ...shared, self: this.nodeId, meter: this.#meter })
    this.#gossip = new Libp2pGossip({ ...shared, topicPrefix: init.meshKeys.topicPrefix })
    this.#protocols = new Libp2pProtocols(shared)
    this.#dialer = new Libp2pDialer({ ...shared, links: this.#links })
    this.#redialer = this.#makeRedialer()
    this.#discovery = this.#makeDiscovery()
    this.#links.onPeer((event) => this.#onPeer(event))
  }

  /**
   * @throws MurmurateError `PORT_IN_USE`; `INVALID_REQUEST` for a malformed address; `NETWORK_ERROR` when it cannot listen
   */
  start(): Promise<void> {
    return this.#next(() => this.#start())
  }

  stop(): Promise<void> {
    return this.#next(() => this.#stop())
  }

  peers(): readonly NodeId[] {
    return this.#links.peers
  }

  addresses(): readonly string[] {
    return this.#node?.libp2p.getMultiaddrs().map((address) => address.toString()) ?? []
  }

  onPeer(listener: (event: PeerEvent) => void): Unsubscribe {
    return this.#links.onPeer(listener)
  }

  publish(topic: string, data: Uint8Array): Promise<number> {
    return this.#gossip.publish(topic, data)
  }

  subscribe(topic: string, handler: GossipHandler): Unsubscribe {
    return this.#gossip.subscribe(topic, handler)
  }

  async open(peer: NodeId, protocol: string, options: OpenOptions): Promise<Channel> {
    throwIfAborted(options.signal)
    const connection = this.#links.connection(peer)
    if (connection === undefined) {
      throw new MurmurateError('NETWORK_ERROR', `There is no link to ${peer}`, { details: { peer } })
    }
    try {
      return await this.#protocols.open(connection, peer, protocol, options)
    } catch (error) {
      // One of two connections that were made at once went down under us: the other one carries it.
      const other = this.#links.connection(peer)
      if (other === undefined || other === connection || connection.status === 'open') throw error
      return this.#protocols.open(other, peer, protocol, options)
    }
  }

  serve(protocol: string, handler: ChannelHandler, options: ServeOptions): Unsubscribe {
    return this.#protocols.serve(protocol, handler, options)
  }

  /**
   * @throws MurmurateError `INVALID_REQUEST` for a malformed address, `NETWORK_ERROR` when nobody of this mesh answers there
   * within `dialTimeoutMs`; it is then not tried again
   */
  async dial(address: string, options: AbortOptions = {}): Promise<NodeId> {
    const parsed = parseDialAddress(address)
    throwIfAborted(options.signal)
    if (parsed.peer !== undefined) this.#links.release(parsed.peer)
    const peer = await this.#dialer.connect([parsed], options)
    this.#redialer.keep(address, peer)
    return peer
  }

  async probe(peer: NodeId, options: AbortOptions = {}): Promise<ProbeResult> {
    if (this.#node === undefined) throw new MurmurateError('NOT_STARTED', 'The network is not running')
    const { clock } = this.#init.environment
    return probeAddresses(this.#redialer.addressesOf(peer), { clock, timeoutMs: this.#knobs.probeMs, ...options })
  }

  async hangUp(peer: NodeId): Promise<void> {
    this.#protocols.breakChannels(peer)
    await this.#links.hold(peer)
  }

  guard(guard: PeerGuard): void {
    this.#guard = guard
  }

  recheck(): void {
    for (const peer of this.#links.peers) {
      if (this.#guard.mayLink(peer)) continue
      this.#protocols.breakChannels(peer)
      this.#links.cut(peer, 'the guard does not allow it any more')
    }
    this.#protocols.recheck()
  }

  traffic(): { readonly sentBytes: number; readonly receivedBytes: number } {
    return { ...this.#meter.total }
  }

  async #start(): Promise<void> {
    if (this.#node !== undefined) return
    const listen = this.#init.listen.map(parseListenAddress)
    for (const address of this.#init.peers) this.#redialer.keep(address, parseDialAddress(address).peer)
    const node = await this.#build(listen)
    this.#protocols.attach(node.libp2p)
    try {
      await node.libp2p.start()
    } catch (cause) {
      this.#protocols.detach()
      throw listenError(cause)
    }
    node.confirmAddresses()
    this.#node = node
    this.#dialer.attach(node.libp2p)
    this.#gossip.attach(node.libp2p.services.pubsub)
    this.#liveness = every(this.#init.environment, this.#knobs.livenessCheckMs, () => this.#links.check())
    this.#redialer.start()
    if (this.#init.discovery) this.#discovery.start()
  }

  async #build(listen: readonly string[]): Promise<BuiltNode> {
    const { buildNode } = await import('./libp2p-node.js')
    const { keyPair, meshKeys, discovery, environment } = this.#init
    const node = await buildNode({
      keyPair,
      meshKeys,
      listen,
      discovery,
      random: environment.random,
      knobs: this.#knobs,
      meter: this.#meter,
      refuses: (...about) => this.#refuses(...about),
      onDiscovered: (info) => this.#learn(info.id, info.multiaddrs),
      gossipScore: (peer) => this.#gossip.scoreOf(peer)
    })
    node.libp2p.addEventListener('connection:open', ({ detail }) => this.#links.opened(detail))
    node.libp2p.addEventListener('connection:close', ({ detail }) => this.#links.lost(detail))
    node.libp2p.addEventListener('peer:identify', ({ detail }) => this.#learn(detail.peerId, detail.listenAddrs))
    return node
  }

  async #stop(): Promise<void> {
    const node = this.#node
    if (node === undefined) return
    this.#node = undefined
    this.#liveness?.cancel()
    this.#redialer.stop()
    this.#discovery.stop()
    this.#protocols.detach()
    this.#gossip.detach()
    this.#dialer.detach()
    await node.libp2p.stop()
    this.#links.clear()
  }

  #next(step: () => Promise<void>): Promise<void> {
    const result = this.#transition.then(step)
    this.#transition = result.catch(() => {})
    return result
  }

  #refuses(...[peerId, direction, stage, address]: Parameters<Refusal>): boolean {
    const peer = nodeIdOf(peerId)
    if (peer !== undefined && !this.#guard.mayLink(peer)) return true
    const refused = this.#links.refuses(peer, direction, stage)
    if (refused && direction === 'outbound' && peer !== undefined) this.#dialer.refused(address, peer)
    return refused
  }

  #learn(peerId: PeerId, multiaddrs: readonly Multiaddr[]): void {
    const peer = nodeIdOf(peerId)
    if (peer === undefined || peer === this.nodeId) return
    const addresses = multiaddrs
      .slice(-this.#knobs.maxAddressesPerPeer)
      .map((address) => withPeer(address.toString(), peer))
    // A peer may tell addresses of others too: those are not where it is found.
    const own = addresses.filter((address) => isDialable(address) && address.endsWith(`/p2p/${peer}`))
    this.#redialer.learn(peer, own)
  }

  #onPeer({ type, peer }: PeerEvent): void {
    this.#logger.debug(`${type}: ${peer}`)
    if (type !== 'disconnected' || this.#node === undefined) return
    this.#redialer.lost(peer)
    if (this.#init.discovery && this.#links.peers.length === 0) this.#discovery.start()
  }

  #makeRedialer(): Redialer {
    return new Redialer({
      self: this.nodeId,
      environment: this.#init.environment,
      logger: this.#logger,
      knobs: this.#knobs,
      isLinked: (peer) => this.#links.has(peer),
      isHeld: (peer) => this.#links.isHeld(peer) || !this.#guard.mayLink(peer),
      linkCount: () => this.#links.peers.length,
      dial: (addresses) => this.#dialer.connectTo(addresses)
    })
  }

  #makeDiscovery(): Discovery {
    return new Discovery({
      environment: this.#init.environment,
      knobs: this.#knobs,
      query: () => this.#node?.queryLocalNetwork(),
      linkCount: () => this.#links.peers.length,
      knownPeers: () => this.#redialer.size
    })
  }
}
