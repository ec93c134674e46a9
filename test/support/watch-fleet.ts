import type { Environment } from '../../src/core/environment.js'
import type { NodeId } from '../../src/core/ids.js'
import { silentLogger } from '../../src/core/logger.js'
import { NeighbourWatch } from '../../src/fleet/neighbour-watch.js'
import type { PresenceState } from '../../src/fleet/presence.js'
import { presencePresets, type PresencePreset } from '../../src/fleet/presence-presets.js'
import type { KeyPair } from '../../src/identity/keypair.js'
import type { MemoryHubInit } from '../../src/net/memory-air.js'
import { MemoryHub, MemoryNetwork } from '../../src/net/memory-network.js'
import { keyPairOf } from '../unit/record/fixtures.js'
import { FreezableClock } from './freezable-clock.js'
import { virtualEnvironment, type VirtualClock } from './virtual-clock.js'

/** A node that does nothing but watch. */
export interface WatchNode {
  readonly number: number
  readonly id: NodeId
  readonly keyPair: KeyPair
  readonly network: MemoryNetwork
  readonly watch: NeighbourWatch
  readonly clock: FreezableClock
  /** Each state that this node ever believed of another, in order. */
  readonly seen: { readonly atMs: number; readonly nodeId: NodeId; readonly state: PresenceState }[]
}

/** Settings of a fleet. */
export interface WatchFleetInit extends Omit<MemoryHubInit, 'environment'> {
  readonly preset?: PresencePreset
}

/** Nodes in one hub on a virtual clock; the seed decides everything. */
export class WatchFleet {
  readonly environment: Environment & { readonly clock: VirtualClock }
  readonly hub: MemoryHub
  readonly nodes: WatchNode[] = []
  readonly #preset: PresencePreset

  constructor(seed: number, { preset = presencePresets.lan, ...air }: WatchFleetInit = {}) {
    this.environment = virtualEnvironment(seed)
    this.hub = new MemoryHub({ environment: this.environment, ...air })
    this.#preset = preset
  }

  /** A fleet of so many nodes that know each other. */
  static async started(seed: number, count: number, init: WatchFleetInit = {}): Promise<WatchFleet> {
    const fleet = new WatchFleet(seed, init)
    for (let number = 0; number < count; number++) await fleet.start(number)
    const tookMs = await fleet.timeUntil(() => fleet.nodes.every(({ id }) => fleet.allSee(id, 'alive')), 20_000)
    if (tookMs === undefined) throw new Error('the nodes did not meet')
    await fleet.clock.advance(10_000)
    return fleet
  }

  get clock(): VirtualClock {
    return this.environment.clock
  }

  /** Starts the node with the key of this number; `wallMs` is how far its wall clock is off. */
  async start(number: number, wallMs = 0): Promise<WatchNode> {
    const keyPair = await keyPairOf(number)
    const clock = new FreezableClock(this.clock)
    if (wallMs !== 0) clock.now = () => this.clock.now() + wallMs
    const network = new MemoryNetwork({ nodeId: keyPair.nodeId, hub: this.hub })
    const environment = { clock, random: this.environment.random }
    const watch = new NeighbourWatch(
      { network, keyPair, environment, logger: silentLogger },
      { topic: 'presence', preset: this.#preset }
    )
    const node: WatchNode = { number, id: keyPair.nodeId, keyPair, network, watch, clock, seen: [] }
    watch.onChange((nodes) => {
      for (const nodeId of nodes) node.seen.push({ atMs: this.clock.monotonic(), nodeId, state: watch.stateOf(nodeId) })
    })
    watch.start()
    network.start()
    this.nodes.push(node)
    return node
  }

  /** The node with this number. */
  node(number: number): WatchNode {
    const node = this.nodes.findLast((candidate) => candidate.number === number)
    if (node === undefined) throw new Error(`there is no node ${number}`)
    return node
  }

  /** Ends a process at once: its sockets close, nothing is said. */
  kill(node: WatchNode): void {
    node.clock.freeze()
    node.network.stop()
    this.nodes.splice(this.nodes.indexOf(node), 1)
  }

  /** Stops a node as its owner would. */
  async leave(node: WatchNode): Promise<void> {
    await this.clock.run(node.watch.leave())
    node.network.stop()
    node.watch.stop()
    this.nodes.splice(this.nodes.indexOf(node), 1)
  }

  /** SIGSTOP. */
  freeze(node: WatchNode): void {
    node.clock.freeze()
    this.hub.freeze(node.id)
  }

  /** SIGCONT: as in Node, the sockets or the timers may come first. */
  thaw(node: WatchNode, first: 'sockets' | 'timers'): void {
    if (first === 'timers') node.clock.thaw()
    this.hub.thaw(node.id)
    if (first === 'sockets') node.clock.thaw()
  }

  /** Pulls the cables between some nodes and all others; nobody is told. */
  silence(nodes: readonly WatchNode[], others = this.nodes): void {
    for (const [one, two] of pairs(nodes, others)) {
      this.hub.mute(one, two)
      this.hub.mute(two, one)
    }
  }

  /** Puts the cables back. */
  heal(nodes: readonly WatchNode[], others = this.nodes): void {
    for (const [one, two] of pairs(nodes, others)) {
      this.hub.unmute(one, two)
      this.hub.unmute(two, one)
    }
  }

  /** Whether all others believe this of a node. */
  allSee(nodeId: NodeId, state: PresenceState, nodes: readonly WatchNode[] = this.nodes): boolean {
    return nodes.every(({ id, watch }) => id === nodeId || watch.stateOf(nodeId) === state)
  }

  /** Whether everyone believes that everyone is here. */
  allAlive(nodes: readonly WatchNode[] = this.nodes): boolean {
    return nodes.every(({ id }) => this.allSee(id, 'alive', nodes))
  }

  /** Advances until the condition holds; the time that took, ms, or undefined when it took longer than the limit. */
  async timeUntil(condition: () => boolean, limitMs: number): Promise<number | undefined> {
    const startMs = this.clock.monotonic()
    while (!condition()) {
      if (this.clock.monotonic() - startMs >= limitMs) return undefined
      await this.clock.advance(20)
    }
    return this.clock.monotonic() - startMs
  }

  /** Nodes that somebody believed to have failed since the moment. */
  everFailed(sinceMs: number): Set<NodeId> {
    const seen = this.nodes.flatMap((node) => node.seen)
    return new Set(seen.filter(({ atMs, state }) => atMs >= sinceMs && state === 'failed').map(({ nodeId }) => nodeId))
  }

  /** Bytes that a node sent and received since start, on average. */
  meanTrafficBytes(): number {
    const all = this.nodes.map(({ network }) => network.traffic())
    return all.reduce((sum, { sentBytes, receivedBytes }) => sum + sentBytes + receivedBytes, 0) / all.length
  }

  async stop(): Promise<void> {
    for (const node of this.nodes) {
      node.clock.freeze()
      node.network.stop()
      node.watch.stop()
    }
    await this.clock.settle()
  }
}

function pairs(nodes: readonly WatchNode[], others: readonly WatchNode[]): [NodeId, NodeId][] {
  return nodes.flatMap((one) =>
    others.filter((two) => !nodes.includes(two)).map(({ id }): [NodeId, NodeId] => [one.id, id])
  )
}
