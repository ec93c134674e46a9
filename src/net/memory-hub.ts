import type { Environment } from '../core/environment.js'
import { MurmurateError } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { MemoryGossip, MemoryHubInit, MemoryLink, MemoryNode } from './memory-air.js'
import { SilentFaults } from './memory-faults.js'
import { Reach } from './memory-reach.js'
import { MemoryWay } from './memory-way.js'
import type { ProbeResult } from './network.js'
import { sample } from './sample.js'

/** How long a lost link stays down at least, in ms. */
const relinkMs = 100
/** Lost links that a node makes again as soon as it can. */
const redialledLinks = 2
/** How long a peer that was hung up on stays away, in ms, as with libp2p. */
const holdMs = 60_000
/** A link on which nothing is heard goes down after this time, in ms, as with libp2p. */
const silentLinkMs = 40_000
/** The air between the nodes of a simulation: who reaches whom, how fast, and what gets lost. */
export class MemoryHub {
  readonly #init: Required<MemoryHubInit>
  readonly #nodes = new Map<NodeId, MemoryNode>()
  readonly #links = new Map<NodeId, Map<NodeId, MemoryLink>>()
  readonly #reach = new Reach()
  /** Links that a cut took, by who had dialled: they come back when they can, as with libp2p. */
  readonly #lost = new Map<NodeId, Set<NodeId>>()
  /** Nodes that are about to look for links. */
  readonly #relinking = new Set<NodeId>()
  readonly #faults = new SilentFaults()
  /** Who does not want to hear of whom, and until when: `<holder> <held>`. */
  readonly #heldUntilMs = new Map<string, number>()

  #carried = 0

  constructor(init: MemoryHubInit) {
    const defaults = { latencyMs: [1, 5], gossipLoss: 0, channelLoss: 0, gossipDuplication: 0 } as const
    this.#init = { ...defaults, maxLinks: Infinity, gossipDegree: Infinity, ...init }
  }

  get environment(): Environment {
    return this.#init.environment
  }

  /** Gossip messages that were handed to a link, lost ones included. */
  get carried(): number {
    return this.#carried
  }

  /** Neighbours that a node hands a gossip message to. */
  get gossipDegree(): number {
    return this.#init.gossipDegree
  }

  /** Cuts the cable between two nodes: nothing passes, and both notice after one latency. */
  cut(one: NodeId, two: NodeId): void {
    this.#reach.cut(one, two)
    this.#breakSoon(one, two)
  }

  /** Mends the cable between two nodes, or ends the isolation of one; links come back by themselves. */
  heal(one: NodeId, two?: NodeId): void {
    this.#reach.heal(one, two)
    for (const node of two === undefined ? this.#nodes.keys() : [one, two]) this.relinkSoon(node)
  }

  /** Cuts one node off from all others. */
  isolate(node: NodeId): void {
    this.#reach.isolate(node)
    for (const peer of this.#linksOf(node).keys()) this.#breakSoon(node, peer)
  }

  /** Splits the mesh: who is in different parts does not reach each other. Takes the place of the partition before. */
  partition(parts: readonly (readonly NodeId[])[]): void {
    this.#reach.partition(parts)
    for (const [node, links] of this.#links) {
      for (const peer of links.keys()) if (this.#reach.isCut(node, peer)) this.#breakSoon(node, peer)
    }
  }

  /** Mends every cable, and ends every isolation and partition. */
  healAll(): void {
    this.#reach.healAll()
    for (const node of this.#nodes.keys()) this.relinkSoon(node)
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
    for (const node of [from, to]) this.relinkSoon(node)
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
    return !this.#reach.isCut(one, two) && this.#faults.answers(one, two)
  }

  /** What a node finds that knocks at the port of another: a process that stands still still has its port open. */
  probe(one: NodeId, two: NodeId): ProbeResult {
    const passes = this.#faults.passes(one, two) && this.#faults.passes(two, one)
    if (this.#reach.isCut(one, two) || !passes) return 'silent'
    return this.#nodes.has(two) ? 'answers' : 'refused'
  }

  /** Draws how long what is sent now on a link is under way, the repetitions of TCP among it, in ms. */
  packetMs(from: NodeId, to: NodeId): number {
    const way = this.link(from, to)?.ways.get(from)
    return (way?.waitMs(this.#init.environment.clock.monotonic()) ?? 0) + this.latencyMs()
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
    this.#lost.delete(nodeId)
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
    const { channelLoss, environment } = this.#init
    const wayOf = (node: NodeId): [NodeId, MemoryWay] => [node, new MemoryWay(environment.random, channelLoss)]
    const ways = new Map<NodeId, MemoryWay>(channelLoss > 0 ? [wayOf(one), wayOf(two)] : [])
    const link: MemoryLink = { ends: [one, two], channels: new Map(), ways, broken: false }
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
    for (const channel of link.channels.keys()) channel.breakWith(reason)
    for (const [node, peer] of [
      [one, two],
      [two, one]
    ] as const) {
      this.deliver(node, node, () => this.#nodes.get(node)?.linkDown(peer))
      this.relinkSoon(node)
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
    const receiver = this.#nodes.get(to)
    const { random } = this.#init.environment
    this.#carried++
    if (link === undefined || receiver === undefined || random.float() < this.#init.gossipLoss) return
    const isDoubled = random.float() < this.#init.gossipDuplication
    // What is known now is known on arrival: most of a flood needs no timer.
    if (!isDoubled && receiver.hasHeard(message.id)) return receiver.countReceived(message.data.byteLength)
    const arrive = (again: boolean): void => {
      if (!link.broken) this.#nodes.get(to)?.hear(message, from, again)
    }
    const hear = (again: boolean): void => this.deliver(from, to, () => arrive(again))
    const onceMs = this.latencyMs()
    this.#after(onceMs, () => hear(false))
    if (isDoubled) this.#after(onceMs + this.latencyMs(), () => hear(true))
  }

  /** A node looks for links that it may have by now. */
  relinkSoon(nodeId: NodeId): void {
    if (this.#relinking.has(nodeId)) return
    this.#relinking.add(nodeId)
    this.#after(relinkMs + this.latencyMs(), () => {
      this.#relinking.delete(nodeId)
      this.#linkUp(nodeId)
    })
  }

  #linksOf(nodeId: NodeId): Map<NodeId, MemoryLink> {
    return this.#links.get(nodeId) ?? new Map()
  }

  #canLink(one: NodeId, two: NodeId): boolean {
    if (one === two || !this.#nodes.has(one) || !this.#nodes.has(two) || this.#linksOf(one).has(two)) return false
    const isHeld = this.#heldUntilMs.size > 0 && (this.#holds(one, two) || this.#holds(two, one))
    return !isHeld && this.answers(one, two) && this.answers(two, one) && this.#mayLink(one, two)
  }

  #mayLink(one: NodeId, two: NodeId): boolean {
    return this.#nodes.get(one)?.mayLink(two) === true && this.#nodes.get(two)?.mayLink(one) === true
  }

  #holds(holder: NodeId, held: NodeId): boolean {
    const untilMs = this.#heldUntilMs.get(`${holder} ${held}`)
    return untilMs !== undefined && untilMs > this.#init.environment.clock.monotonic()
  }

  /** A node makes the links that it wants and may have. */
  #linkUp(nodeId: NodeId): void {
    const wanted = this.#nodes.get(nodeId)?.wanted ?? []
    for (const peer of wanted) if (this.#canLink(nodeId, peer)) this.connect(nodeId, peer)
    this.#redialLost(nodeId)
    const free = this.#init.maxLinks - this.#linksOf(nodeId).size
    if (free <= 0 || !this.#nodes.has(nodeId)) return
    const candidates = [...this.#nodes.keys()].filter((peer) => this.#canLink(nodeId, peer))
    for (const peer of sample(this.#init.environment.random, candidates, free)) this.connect(nodeId, peer)
  }

  /** However many links a node has by now: else parts that were apart long enough to fill up would stay apart. */
  #redialLost(nodeId: NodeId): void {
    const reachable = [...(this.#lost.get(nodeId) ?? [])].filter((peer) => this.#canLink(nodeId, peer))
    if (reachable.length === 0) return
    this.#lost.delete(nodeId)
    for (const peer of reachable.slice(0, redialledLinks)) this.connect(nodeId, peer)
  }

  #breakSoon(one: NodeId, two: NodeId): void {
    const link = this.#linksOf(one).get(two)
    if (link === undefined || link.broken) return
    link.broken = true
    const [dialler, dialled] = link.ends
    this.#lost.set(dialler, (this.#lost.get(dialler) ?? new Set()).add(dialled))
    this.#after(this.latencyMs(), () => {
      if (this.#linksOf(one).get(two) === link) this.unlink(one, two, 'The link broke')
    })
  }

  #after(delayMs: number, action: () => void): void {
    this.#init.environment.clock.setTimer(delayMs, action)
  }
}
