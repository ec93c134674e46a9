import type { Clock } from '../core/environment.js'
import type { NodeId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import type { Unsubscribe } from '../net/network.js'
import type { RootKeeper } from '../record/root-keeper.js'
import {
  healthSummary,
  nodeHealth,
  type HealthSummary,
  type NodeHealth,
  type Observation,
  type RootFigures
} from './health.js'
import type { Member, Membership } from './membership.js'
import type { Pulses } from './pulse.js'
import type { Conduct } from './record-conduct.js'
import { Uptime } from './uptime.js'
import type { Vitals, VitalSigns } from './vitals.js'

/** How this node is. */
export interface OwnFigures extends VitalSigns {
  /** Free space of the disk with the data directory, MiB; absent when unknown. */
  readonly freeDiskMb?: number
}

/** How well all nodes are, as this one sees it. */
export interface FleetHealth {
  readonly summary: HealthSummary
  /** Each member, sorted by id. */
  readonly nodes: readonly NodeHealth[]
  readonly own: OwnFigures
  /** How the fleet root is, as this node knows it; absent without a fleet. */
  readonly root?: RootFigures
}

type Figures = Partial<Pick<Observation, 'eventLoopMs' | 'freeDiskMb' | 'root'>>

/** What health is judged from. */
export interface HealthMonitorComponents {
  readonly membership: Pick<Membership, 'members' | 'get' | 'onChange' | 'self'>
  readonly pulses: Pick<Pulses, 'loads'>
  readonly vitals: Vitals
  readonly clock: Clock
  /** Who did something wrong. */
  readonly conduct: () => readonly Conduct[]
  /** The roots of this node's fleet; undefined without one. */
  readonly root: Pick<RootKeeper, 'forks' | 'isExpired'> | undefined
}

/** Watches who can be reached, and judges how well the nodes are when asked. */
export class HealthMonitor implements Startable {
  readonly #components: HealthMonitorComponents
  readonly #uptime = new Uptime()
  #unsubscribe: Unsubscribe | undefined

  constructor(components: HealthMonitorComponents) {
    this.#components = components
  }

  start(): void {
    const { membership } = this.#components
    this.#unsubscribe ??= membership.onChange((nodes) => this.#observe(nodes))
    this.#observe(membership.members().map(({ nodeId }) => nodeId))
  }

  stop(): void {
    this.#unsubscribe?.()
    this.#unsubscribe = undefined
    this.#uptime.clear()
  }

  /** How well all members are, as this node sees it: others may see it otherwise. */
  async health(): Promise<FleetHealth> {
    const { membership, vitals, pulses, conduct } = this.#components
    const root = this.#rootFigures()
    const freeDiskMb = await vitals.freeDiskMb()
    const own = { ...vitals.read(), ...(freeDiskMb === undefined ? {} : { freeDiskMb }) }
    const conducts = new Map(conduct().map((each) => [each.peer, each]))
    const loads = pulses.loads()
    const { nodeId: self } = membership.self
    const nodes = membership.members().map((member) => {
      const figures = member.nodeId === self ? { ...own, root } : { eventLoopMs: loads.get(member.nodeId)?.eventLoopMs }
      return nodeHealth(this.#observation(member, conducts.get(member.nodeId), figures))
    })
    return { summary: healthSummary(nodes), nodes, own, ...(root === undefined ? {} : { root }) }
  }

  #rootFigures(): RootFigures | undefined {
    const { root } = this.#components
    return root && { forks: root.forks.length, isExpired: root.isExpired }
  }

  #observation(member: Member, conduct: Conduct | undefined, figures: Figures): Observation {
    const { nodeId, name, presence } = member
    return {
      nodeId,
      name,
      presence,
      uptime: this.#uptime.figure(nodeId, this.#components.clock.monotonic()),
      refusals: conduct?.refusals ?? 0,
      equivocations: conduct?.equivocations ?? 0,
      eventLoopMs: figures.eventLoopMs,
      freeDiskMb: figures.freeDiskMb,
      root: figures.root
    }
  }

  #observe(nodes: readonly NodeId[]): void {
    const { membership, clock } = this.#components
    for (const nodeId of nodes) {
      const member = membership.get(nodeId)
      if (member === undefined) this.#uptime.remove(nodeId)
      else this.#uptime.observe(nodeId, member.online, clock.monotonic())
    }
  }
}
