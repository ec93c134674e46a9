import type { Environment } from '../core/environment.js'
import { MurmurateError } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { MemoryChannel, MemoryChannelEnd } from './memory-channel.js'
import { SilentFaults } from './memory-faults.js'
import type { GossipMessage, ProbeResult } from './network.js'

/** What the air between the nodes is like. */
export interface MemoryHubInit {
  /** The same clock and the same seed give the same run. */
  readonly environment: Environment
  /** Least and most that anything takes from one node to the next, in ms. Default 1 to 5. */
  readonly latencyMs?: readonly [least: number, most: number]
  /** Part of the gossip that is lost on each hop, 0 to 1. Default 0. */
  readonly gossipLoss?: number
  /** Part of the packets of channels that is lost, 0 to 1: TCP sends them again after 200 ms, 400 ms, 800 ms and so on. Default 0. */
  readonly channelLoss?: number
  /** Part of the gossip that reaches a handler twice, 0 to 1. Default 0. */
  readonly gossipDuplication?: number
  /** Links that a node makes by itself; it takes any number from others. Default: to everyone. */
  readonly maxLinks?: number
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
  /** Whether it wants the gossip of a topic. */
  subscribes(topic: string): boolean
  /** Takes a gossip message, `again` when it is a duplicate that slipped through. */
  hear(message: MemoryGossip, sender: NodeId, again: boolean): void
  /** Takes the other end of a channel and returns the opener's, or undefined when it does not serve the protocol. */
  accept(protocol: string, link: MemoryLink, opener: MemoryChannelEnd, from: NodeId): MemoryChannel | undefined
}

/** A link between two nodes that are running. */
export interface MemoryLink {
  readonly ends: readonly [NodeId, NodeId]
  readonly channels: Set<MemoryChannel>
  /** Nothing passes any more; it goes down as soon as that is noticed. */
  broken: boolean
}

/** How long a lost link stays down at least, in ms. */
const relinkMs = 100
/** How long a peer that was hung up on stays away, in ms, as with libp2p. */
const holdMs = 60_000
/** A link on which nothing is heard goes down after this time, in ms, as with libp2p. */
const silentLinkMs = 40_000
/** First wait of TCP before it sends a packet again, in ms, as in Linux; it doubles each time. */
const retransmitMs = 200

/** The air between the nodes of a simulation: who reaches whom, how fast, and what gets lost. */
export class MemoryHub {
  readonly #init: Required<MemoryHubInit>
  readonly #nodes = new Map<NodeId, MemoryNode>()
  readonly #links = new Map<NodeId, Map<NodeId, MemoryLink>>()
  readonly #cuts = new Set<string>()
  readonly #isolated = new Set<NodeId>()
  readonly #faults = new SilentFaults()
  /** Who does not want to hear of whom, and until when: `<holder> <held>`. */
  readonly #heldUntilMs = new Map<string, number>()

  constructor(init: MemoryHubInit) {
    this.#init = { latencyMs: [1, 5], gossipLoss: 0, channelLoss: 0, gossipDuplication: 0, maxLinks: Infinity, ...init }
  }

  get environment(): Environment {
    return this.#init.environment
  }

  /** Cuts the cable between two nodes: nothing passes, and both notice after one latency. */
  cut(one: NodeId, two: NodeId): void {
    this.#cuts.add(pairOf(one, two))
    this.#breakSoon(one, two)
  }

  /** Mends the cable between two nodes, or ends the isolation of one; links come back by themselves. */
  heal(one: NodeId, two?: NodeId): void {
    if (two === undefined) this.#isolated.delete(one)
    else this.#cuts.delete(pairOf(one, two))
    for (const node of two === undefined ? this.#nodes.keys() : [one, two]) this.#relinkSoon(node)
  }

  /** Cuts one node off from all others. */
  isolate(node: NodeId): void {
    this.#isolated.add(node)
    for (const peer of this.#linksOf(node).keys()) this.#breakSoon(node, peer)
  }

  /** Nothing passes from one to the other any more, and nobody is told: the link goes down when it has been silent for long. */
  mute(from: NodeId, to: NodeId): void {
    const link = this.link(from, to)
    this.#faults.mute(from, to)
    this.#after(silentLinkMs, () => {
      if (link === undefined || this.#faults.passes(from, to) || this.link(from, to) !== link) return
      this.unlink(from, to, 'Nothing was heard')
    })
  }

  /** It passes again; a link that went down meanwhile comes back by itself. */
  unmute(from: NodeId, to: NodeId): void {
    this.#faults.unmute(from, to)
    for (const node of [from, to]) this.#relinkSoon(node)
  }

  /** A node stands still, as a process that was sent SIGSTOP: its links stay. Its timers are the test's own business. */
  freeze(node: NodeId): void {
    this.#faults.freeze(node)
  }

  /** It goes on, and finds what came meanwhile. */
  thaw(node: NodeId): void {
    this.#faults.thaw(node)
  }

  /** Something gets to a node, now or when it can. */
  deliver(from: NodeId, to: NodeId, arrive: () => void): void {
    this.#faults.deliver(from, to, arrive)
  }

  /** Whether one gets an answer of the other's process at this moment. */
  answers(one: NodeId, two: NodeId): boolean {
    return !this.#isCut(one, two) && this.#faults.answers(one, two)
  }

  /** What a node finds that knocks at the port of another: a process that stands still still has its port open. */
  probe(one: NodeId, two: NodeId): ProbeResult {
    const passes = this.#faults.passes(one, two) && this.#faults.passes(two, one)
    if (this.#isCut(one, two) || !passes) return 'silent'
    return this.#nodes.has(two) ? 'answers' : 'refused'
  }

  /** Draws how long a packet of a channel takes, the repetitions of TCP among it, in ms. */
  packetMs(): number {
    let waitedMs = 0
    const { channelLoss, environment } = this.#init
    for (let wait = retransmitMs; channelLoss > 0 && environment.random.float() < channelLoss; wait *= 2)
      waitedMs += wait
    return waitedMs + this.latencyMs()
  }

  /** Draws how long something takes, in ms. */
  latencyMs(): number {
    const [least, most] = this.#init.latencyMs
    return least + (most - least) * this.#init.environment.random.float()
  }

  /** A node starts. */
  join(node: MemoryNode): void {
    this.#nodes.set(node.nodeId, node)
    this.#links.set(node.nodeId, new Map())
    this.#after(this.latencyMs(), () => this.#linkUp(node.nodeId))
  }

  /** A node stops; its links go down. */
  leave(nodeId: NodeId): void {
    for (const peer of this.#linksOf(nodeId).keys()) this.unlink(nodeId, peer, 'The node was stopped')
    this.#nodes.delete(nodeId)
    this.#links.delete(nodeId)
  }

  /** A running node by its id. */
  node(nodeId: NodeId): MemoryNode | undefined {
    return this.#nodes.get(nodeId)
  }

  /** Peers with a link to this node. */
  peersOf(nodeId: NodeId): readonly NodeId[] {
    return [...this.#linksOf(nodeId).keys()]
  }

  /** The link between two nodes, unless it is broken. */
  link(one: NodeId, two: NodeId): MemoryLink | undefined {
    const link = this.#linksOf(one).get(two)
    return link?.broken === true ? undefined : link
  }

  /** One node dials another. @throws MurmurateError `NETWORK_ERROR` */
  connect(one: NodeId, two: NodeId): void {
    if (this.link(one, two) !== undefined) return
    this.#heldUntilMs.delete(`${one} ${two}`)
    if (!this.#canLink(one, two))
      throw new MurmurateError('NETWORK_ERROR', `${two} does not answer`, { details: { peer: two } })
    const link: MemoryLink = { ends: [one, two], channels: new Set(), broken: false }
    this.#linksOf(one).set(two, link)
    this.#linksOf(two).set(one, link)
    this.#nodes.get(one)?.linkUp(two)
    this.#nodes.get(two)?.linkUp(one)
  }

  /** Takes a link down at both ends. */
  unlink(one: NodeId, two: NodeId, reason: string): void {
    const link = this.#linksOf(one).get(two)
    if (link === undefined) return
    link.broken = true
    this.#linksOf(one).delete(two)
    this.#linksOf(two).delete(one)
    for (const channel of link.channels) channel.breakWith(reason)
    for (const [node, peer] of [
      [one, two],
      [two, one]
    ] as const) {
      this.deliver(node, node, () => this.#nodes.get(node)?.linkDown(peer))
      this.#relinkSoon(node)
    }
  }

  /** One node takes the link to another down, and keeps it down for a minute unless it dials itself. */
  hangUp(one: NodeId, two: NodeId): void {
    this.#heldUntilMs.set(`${one} ${two}`, this.#init.environment.clock.monotonic() + holdMs)
    this.unlink(one, two, 'It was hung up')
    this.#after(holdMs, () => this.#linkUp(one))
  }

  /** Carries a gossip message over one link, or loses it, or brings it twice. */
  carryGossip(message: MemoryGossip, from: NodeId, to: NodeId): void {
    const link = this.link(from, to)
    const { random } = this.#init.environment
    if (link === undefined || random.float() < this.#init.gossipLoss) return
    const arrive = (again: boolean): void => {
      if (!link.broken) this.#nodes.get(to)?.hear(message, from, again)
    }
    const hear = (again: boolean): void => this.deliver(from, to, () => arrive(again))
    this.#after(this.latencyMs(), () => hear(false))
    if (random.float() < this.#init.gossipDuplication) this.#after(2 * this.latencyMs(), () => hear(true))
  }

  #linksOf(nodeId: NodeId): Map<NodeId, MemoryLink> {
    return this.#links.get(nodeId) ?? new Map()
  }

  #canLink(one: NodeId, two: NodeId): boolean {
    const running = this.#nodes.has(one) && this.#nodes.has(two) && one !== two
    const held = this.#holds(one, two) || this.#holds(two, one)
    return running && this.answers(one, two) && this.answers(two, one) && !held && !this.#linksOf(one).has(two)
  }

  #isCut(one: NodeId, two: NodeId): boolean {
    return this.#isolated.has(one) || this.#isolated.has(two) || this.#cuts.has(pairOf(one, two))
  }

  #holds(holder: NodeId, held: NodeId): boolean {
    const untilMs = this.#heldUntilMs.get(`${holder} ${held}`)
    return untilMs !== undefined && untilMs > this.#init.environment.clock.monotonic()
  }

  /** A node makes the links that it wants and may have. */
  #linkUp(nodeId: NodeId): void {
    const wanted = this.#nodes.get(nodeId)?.wanted ?? []
    for (const peer of wanted) if (this.#canLink(nodeId, peer)) this.connect(nodeId, peer)
    const free = this.#init.maxLinks - this.#linksOf(nodeId).size
    if (free <= 0 || !this.#nodes.has(nodeId)) return
    const candidates = [...this.#nodes.keys()].filter((peer) => this.#canLink(nodeId, peer))
    for (const peer of this.#draw(candidates, free)) this.connect(nodeId, peer)
  }

  /** Up to `count` of the items, at random. */
  #draw<Item>(items: Item[], count: number): Item[] {
    const { random } = this.#init.environment
    for (let at = 0; at < Math.min(count, items.length); at++) {
      const other = at + Math.floor(random.float() * (items.length - at))
      const [a, b] = [items[at], items[other]]
      if (a !== undefined && b !== undefined) [items[at], items[other]] = [b, a]
    }
    return items.slice(0, count)
  }

  #breakSoon(one: NodeId, two: NodeId): void {
    const link = this.#linksOf(one).get(two)
    if (link === undefined || link.broken) return
    link.broken = true
    this.#after(this.latencyMs(), () => {
      if (this.#linksOf(one).get(two) === link) this.unlink(one, two, 'The link broke')
    })
  }

  #relinkSoon(nodeId: NodeId): void {
    this.#after(relinkMs + this.latencyMs(), () => this.#linkUp(nodeId))
  }

  #after(delayMs: number, action: () => void): void {
    this.#init.environment.clock.setTimer(delayMs, action)
  }
}

function pairOf(one: NodeId, two: NodeId): string {
  return one < two ? `${one} ${two}` : `${two} ${one}`
}
