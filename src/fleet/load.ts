import { z } from 'zod'
import { jittered, type Environment, type Timer } from '../core/environment.js'
import type { NodeId } from '../core/ids.js'
import { RecentMap } from '../core/recent-map.js'
import type { Interest } from './interest.js'

const amount = z.number().nonnegative().finite()

/** How busy a node is. A field that is absent is unknown. */
export interface Load {
  /** Of the time of all CPU cores of the machine, the part that was used lately, 0 to 100. */
  readonly cpuPercent?: number | undefined
  /** Memory that the node's process takes, MiB. */
  readonly memoryMb: number
  /** 99th percentile of how late the process gets to its work, ms. */
  readonly eventLoopMs?: number | undefined
  /** Transfers under way. */
  readonly transfers: number
}

/** The form of a load. */
export const loadSchema = z.object({
  cpuPercent: amount.max(100).optional(),
  memoryMb: amount,
  eventLoopMs: amount.optional(),
  transfers: z.int().nonnegative()
})

/** A load as it was heard. */
export interface ObservedLoad extends Load {
  readonly nodeId: NodeId
}

/** What is needed to exchange loads. */
export interface LoadsInit {
  readonly self: NodeId
  readonly environment: Environment
  readonly interest: Interest<ObservedLoad>
  /** This node's own. */
  readonly read: () => Load
  readonly send: (load: Load) => void
  /** How many nodes the mesh has: all of them answer. */
  readonly memberCount: () => number
  /** How many nodes to remember. */
  readonly maxWriters: number
}

/** A node sends its load at most this often, ms... */
const periodMs = 5000
/** ...and less often where there are many, so that the mesh carries about this many a second. */
const loadsPerSecond = 2
/** A load is forgotten when this many in a row were not heard. */
const periodsPerTtl = 3

interface Heard {
  readonly load: ObservedLoad
  readonly at: number
}

/** Exchanges loads while somebody watches. */
export class Loads {
  readonly #init: LoadsInit
  readonly #heard: RecentMap<NodeId, Heard>
  #timer: Timer | undefined

  constructor(init: LoadsInit) {
    this.#init = init
    this.#heard = new RecentMap(init.maxWriters)
  }

  /** Somebody has begun to watch: tells the load now and then, as long as somebody does. */
  wake(): void {
    const { clock, random } = this.#init.environment
    // All nodes hear of an interest at the same moment, and must not answer at the same moment.
    this.#timer ??= clock.setTimer(this.#periodMs() * random.float(), () => this.#tick())
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#heard.clear()
  }

  /** Another node has told its load. */
  hear(nodeId: NodeId, { cpuPercent, memoryMb, eventLoopMs, transfers }: Load): void {
    const load: ObservedLoad = { nodeId, cpuPercent, memoryMb, eventLoopMs, transfers }
    this.#heard.set(nodeId, { load, at: this.#init.environment.clock.monotonic() })
    this.#init.interest.tell(load)
  }

  /** What was heard lately, by node. */
  present(): ReadonlyMap<NodeId, ObservedLoad> {
    const oldest = this.#init.environment.clock.monotonic() - periodsPerTtl * this.#periodMs()
    for (const [nodeId, { at }] of this.#heard) if (at < oldest) this.#heard.delete(nodeId)
    return new Map(Array.from(this.#heard, ([nodeId, { load }]) => [nodeId, load]))
  }

  #tick(): void {
    const { environment, interest, read, send, self } = this.#init
    this.#timer = undefined
    if (!interest.isWanted && !interest.isWatched) return
    const load = read()
    if (interest.isWanted) send(load)
    this.hear(self, load)
    this.#timer = environment.clock.setTimer(jittered(environment.random, this.#periodMs()), () => this.#tick())
  }

  #periodMs(): number {
    return Math.max(periodMs, (this.#init.memberCount() / loadsPerSecond) * 1000)
  }
}
