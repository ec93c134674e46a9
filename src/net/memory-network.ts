import '../core/polyfill.js'
import { createHash } from 'node:crypto'
import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { sleep, type Clock } from '../core/environment.js'
import { MurmurateError, messageOf } from '../core/errors.js'
import { parseNodeId, type NodeId } from '../core/ids.js'
import { Listeners } from '../core/listeners.js'
import { silentLogger, type Logger } from '../core/logger.js'
import { MemoryChannel, type MemoryChannelEnd } from './memory-channel.js'
import { MemoryHub } from './memory-hub.js'
import type { MemoryGossip, MemoryLink, MemoryNode } from './memory-air.js'
import {
  maxGossipBytes,
  type Channel,
  type GossipMessage,
  type GossipVerdict,
  type Network,
  notAllowed,
  openGuard,
  type OpenOptions,
  type PeerEvent,
  type PeerGuard,
  type ProbeResult,
  type ServeOptions,
  type Unsubscribe
} from './network.js'
import { sample } from './sample.js'

export { MemoryHub }

/** How long a node remembers a gossip message, in ms, as gossipsub does: after that the same bytes are new again. */
const seenMs = 120_000
/** Messages that a node remembers. */
const maxSeen = 10_000
/** How long a peer may take to agree on a protocol, in ms, as with libp2p. */
const negotiationMs = 5_000
/** How long a probe waits for an answer, in ms, as with libp2p. */
const probeMs = 1_000

/** What a network in memory is made of. */
export interface MemoryNetworkInit {
  readonly nodeId: NodeId
  readonly hub: MemoryHub
  readonly logger?: Logger
}

interface Served {
  readonly handler: (channel: Channel) => Promise<void>
  readonly options: ServeOptions
}

/** A node of a `MemoryHub`: the same promises as libp2p's, driven by the hub's clock and chance alone. */
export class MemoryNetwork implements Network {
  readonly nodeId: NodeId
  readonly #hub: MemoryHub
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #wanted = new Set<NodeId>()
  readonly #listeners: Listeners<[event: PeerEvent]>
  readonly #topics = new Map<string, (message: GossipMessage) => GossipVerdict>()
  readonly #protocols = new Map<string, Served>()
  /** Message id to the moment at which it is forgotten, oldest first. */
  readonly #seen = new Map<string, number>()
  readonly #traffic = { sentBytes: 0, receivedBytes: 0 }
  #guard = openGuard
  #running = false

  constructor(init: MemoryNetworkInit) {
    this.nodeId = init.nodeId
    this.#hub = init.hub
    this.#clock = init.hub.environment.clock
    this.#logger = init.logger ?? silentLogger
    this.#listeners = new Listeners('peer events', this.#logger)
  }

  start(): void {
    if (this.#running) return
    this.#running = true
    this.#hub.join(this.#makeNode())
  }

  stop(): void {
    if (!this.#running) return
    this.#hub.leave(this.nodeId)
    this.#running = false
    this.#wanted.clear()
    this.#seen.clear()
  }

  peers(): readonly NodeId[] {
    return this.#hub.peersOf(this.nodeId)
  }

  addresses(): readonly string[] {
    return this.#running ? [`/memory/${this.nodeId}/p2p/${this.nodeId}`] : []
  }

  onPeer(listener: (event: PeerEvent) => void): Unsubscribe {
    return this.#listeners.add(listener)
  }

  async publish(topic: string, data: Uint8Array): Promise<number> {
    if (data.byteLength > maxGossipBytes) {
      throw new MurmurateError(
        'INVALID_REQUEST',
        `A gossip message of ${data.byteLength} bytes, the limit is ${maxGossipBytes}`
      )
    }
    this.#assertRunning()
    const id = createHash('sha256').update(`${topic}\0`).update(data).digest('base64')
    if (!this.#isNew(id)) return 0
    return Promise.resolve(this.#forward({ id, topic, data: new Uint8Array(data) }))
  }

  subscribe(topic: string, handler: (message: GossipMessage) => GossipVerdict): Unsubscribe {
    if (this.#topics.has(topic)) throw new MurmurateError('INVALID_REQUEST', `The topic ${topic} has a handler already`)
    this.#topics.set(topic, handler)
    return () => {
      if (this.#topics.get(topic) === handler) this.#topics.delete(topic)
    }
  }

  async open(peer: NodeId, protocol: string, options: OpenOptions): Promise<Channel> {
    throwIfAborted(options.signal)
    await sleep(this.#clock, this.#hub.latencyMs(), options.signal)
    if (!this.#hub.answers(this.nodeId, peer)) await sleep(this.#clock, negotiationMs, options.signal)
    const link = this.#hub.answers(this.nodeId, peer) ? this.#hub.link(this.nodeId, peer) : undefined
    if (link === undefined)
      throw new MurmurateError('NETWORK_ERROR', `There is no link to ${peer}`, { details: { peer } })
    if (!this.#guard.mayUse(peer, protocol)) throw notAllowed(peer, protocol)
    const channel = this.#hub.node(peer)?.accept(protocol, link, this.#channelEnd(peer, options), this.nodeId)
    if (channel === undefined) {
      throw new MurmurateError('NETWORK_ERROR', `${peer} does not speak ${protocol}`, { details: { peer, protocol } })
    }
    return channel
  }

  serve(protocol: string, handler: (channel: Channel) => Promise<void>, options: ServeOptions): Unsubscribe {
    if (this.#protocols.has(protocol)) throw new MurmurateError('INVALID_REQUEST', `${protocol} is served already`)
    const served = { handler, options }
    this.#protocols.set(protocol, served)
    return () => {
      if (this.#protocols.get(protocol) === served) this.#protocols.delete(protocol)
    }
  }

  async dial(address: string, options: AbortOptions = {}): Promise<NodeId> {
    const text = /^\/memory\/([^/]+)\/p2p\/\1$/.exec(address)?.[1]
    if (text === undefined)
      throw new MurmurateError('INVALID_REQUEST', `${JSON.stringify(address)} is no /memory address`)
    const peer = parseNodeId(text)
    this.#assertRunning()
    await sleep(this.#clock, this.#hub.latencyMs(), options.signal)
    this.#hub.connect(this.nodeId, peer)
    this.#wanted.add(peer)
    return peer
  }

  async probe(peer: NodeId, options: AbortOptions = {}): Promise<ProbeResult> {
    this.#assertRunning()
    await sleep(this.#clock, this.#hub.latencyMs(), options.signal)
    const result = this.#hub.probe(this.nodeId, peer)
    if (result === 'silent') await sleep(this.#clock, probeMs, options.signal)
    return result
  }

  hangUp(peer: NodeId): Promise<void> {
    this.#wanted.delete(peer)
    this.#hub.hangUp(this.nodeId, peer)
    return Promise.resolve()
  }

  guard(guard: PeerGuard): void {
    this.#guard = guard
  }

  recheck(): void {
    if (this.#running) this.#hub.relinkSoon(this.nodeId)
    for (const peer of this.peers()) {
      if (!this.#guard.mayLink(peer)) this.#hub.unlink(this.nodeId, peer, 'The guard does not allow it any more')
      for (const [channel, protocol] of this.#hub.link(this.nodeId, peer)?.channels ?? []) {
        if (channel.peer === peer && !this.#guard.mayUse(peer, protocol)) channel.abort(notAllowed(peer, protocol))
      }
    }
  }

  traffic(): { readonly sentBytes: number; readonly receivedBytes: number } {
    return { ...this.#traffic }
  }

  /** The side that only the hub sees. */
  #makeNode(): MemoryNode {
    return {
      nodeId: this.nodeId,
      wanted: this.#wanted,
      linkUp: (peer) => this.#listeners.tell({ type: 'connected', peer }),
      linkDown: (peer) => this.#listeners.tell({ type: 'disconnected', peer }),
      mayLink: (peer) => this.#guard.mayLink(peer),
      subscribes: (topic) => this.#topics.has(topic),
      hasHeard: (id) => (this.#seen.get(id) ?? 0) > this.#clock.monotonic(),
      countReceived: (bytes) => void (this.#traffic.receivedBytes += bytes),
      hear: (message, sender, again) => this.#hear(message, sender, again),
      accept: (protocol, link, opener, from) => this.#accept(protocol, link, opener, from)
    }
  }

  #hear(message: MemoryGossip, sender: NodeId, again: boolean): void {
    this.#traffic.receivedBytes += message.data.byteLength
    const handler = this.#topics.get(message.topic)
    if (handler === undefined || !this.#guard.mayUse(sender, message.topic)) return
    if (!this.#isNew(message.id) && !again) return
    if (this.#judge(handler, { sender, data: message.data }) === 'accept' && !again) this.#forward(message, sender)
  }

  #judge(handler: (message: GossipMessage) => GossipVerdict, message: GossipMessage): GossipVerdict {
    try {
      return handler(message)
    } catch (error) {
      this.#logger.error(`a gossip handler failed: ${messageOf(error)}`)
      return 'ignore'
    }
  }

  /** Hands a message to all neighbours that subscribe to its topic, except to whom it came from. */
  #forward(message: MemoryGossip, sender?: NodeId): number {
    const subscribers = this.peers().filter(
      (peer) =>
        peer !== sender &&
        this.#hub.node(peer)?.subscribes(message.topic) === true &&
        this.#guard.mayUse(peer, message.topic)
    )
    const receivers = sample(this.#hub.environment.random, subscribers, this.#hub.gossipDegree)
    for (const peer of receivers) {
      this.#traffic.sentBytes += message.data.byteLength
      this.#hub.carryGossip(message, this.nodeId, peer)
    }
    return receivers.length
  }

  #isNew(id: string): boolean {
    const now = this.#clock.monotonic()
    for (const [oldest, until] of this.#seen) {
      if (until > now && this.#seen.size < maxSeen) break
      this.#seen.delete(oldest)
    }
    if (this.#seen.has(id)) return false
    this.#seen.set(id, now + seenMs)
    return true
  }

  #accept(protocol: string, link: MemoryLink, opener: MemoryChannelEnd, from: NodeId): MemoryChannel | undefined {
    const served = this.#protocols.get(protocol)
    if (served === undefined || !this.#guard.mayUse(from, protocol)) return undefined
    const passes = (): boolean => !link.broken
    const theirs = new MemoryChannel({
      ...opener,
      passes,
      deliver: (arrive) => this.#hub.deliver(from, this.nodeId, arrive),
      onFreed: () => link.channels.delete(theirs)
    })
    const own = this.#channelEnd(from, served.options)
    const ours = new MemoryChannel({
      ...own,
      passes,
      deliver: (arrive) => this.#hub.deliver(this.nodeId, from, arrive),
      onFreed: () => link.channels.delete(ours)
    })
    theirs.join(ours)
    link.channels.set(theirs, protocol).set(ours, protocol)
    void this.#run(protocol, served, ours)
    return theirs
  }

  #channelEnd(peer: NodeId, options: ServeOptions): MemoryChannelEnd {
    return {
      clock: this.#clock,
      latencyMs: () => this.#hub.packetMs(this.nodeId, peer),
      peer,
      maxFrameBytes: options.maxFrameBytes,
      onSent: (bytes) => (this.#traffic.sentBytes += bytes),
      onReceived: (bytes) => (this.#traffic.receivedBytes += bytes)
    }
  }

  async #run(protocol: string, served: Served, channel: MemoryChannel): Promise<void> {
    try {
      await served.handler(channel)
      await channel.release()
    } catch (error) {
      this.#logger.debug(`${protocol} with ${channel.peer} failed: ${messageOf(error)}`)
      channel.abort(error instanceof Error ? error : new Error(messageOf(error)))
    }
  }

  #assertRunning(): void {
    if (!this.#running) throw new MurmurateError('NOT_STARTED', 'The network is not running')
  }
}
