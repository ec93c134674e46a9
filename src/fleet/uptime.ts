import type { NodeId } from '../core/ids.js'

/** What happened this long ago counts a third of what happens now (1/e), ms: the figure is about the last hours. */
const memoryMs = 3_600_000

interface Seen {
  online: boolean
  /** When the sums were last brought up to date. */
  at: number
  readonly since: number
  onlineMs: number
  totalMs: number
}

/** How much of its time a node could be reached. */
export interface UptimeFigure {
  /** 0 to 1, the recent past counting more: a node that was away for a minute of the last hour has about 0.98. */
  readonly ratio: number
  /** How long it was looked at, ms. */
  readonly observedMs: number
}

/** Remembers who could be reached how much of the time, as this node saw it. Time is passed in, ms of a clock that does not jump. */
export class Uptime {
  readonly #seen = new Map<NodeId, Seen>()

  /** From now on the node is reachable, or is not. */
  observe(nodeId: NodeId, online: boolean, now: number): void {
    const seen = this.#seen.get(nodeId)
    if (seen === undefined) {
      this.#seen.set(nodeId, { online, at: now, since: now, onlineMs: 0, totalMs: 0 })
      return
    }
    bringUpToDate(seen, now)
    seen.online = online
  }

  /** It is no member any more. */
  remove(nodeId: NodeId): void {
    this.#seen.delete(nodeId)
  }

  /** Forgets all. */
  clear(): void {
    this.#seen.clear()
  }

  /** What was seen of a node; undefined before any time has passed. */
  figure(nodeId: NodeId, now: number): UptimeFigure | undefined {
    const seen = this.#seen.get(nodeId)
    if (seen === undefined) return undefined
    bringUpToDate(seen, now)
    return seen.totalMs === 0 ? undefined : { ratio: seen.onlineMs / seen.totalMs, observedMs: now - seen.since }
  }
}

/** Adds the time since the last look with the weight that it has now: the integral of exp(-t / memory). */
function bringUpToDate(seen: Seen, now: number): void {
  const kept = Math.exp((seen.at - now) / memoryMs)
  const addedMs = memoryMs * (1 - kept)
  seen.totalMs = seen.totalMs * kept + addedMs
  seen.onlineMs = seen.onlineMs * kept + (seen.online ? addedMs : 0)
  seen.at = now
}
