import type { NodeId } from '../core/ids.js'

interface Held {
  readonly from: NodeId
  readonly to: NodeId
  readonly arrive: () => void
}

/** Faults that nobody is told of: directions in which nothing passes, and nodes that stand still. What they hold up arrives later, as with TCP. */
export class SilentFaults {
  readonly #muted = new Set<string>()
  readonly #frozen = new Set<NodeId>()
  #held: Held[] = []

  /** Nothing passes this way any more. */
  mute(from: NodeId, to: NodeId): void {
    this.#muted.add(`${from} ${to}`)
  }

  /** It passes again, and what was held up arrives. */
  unmute(from: NodeId, to: NodeId): void {
    this.#muted.delete(`${from} ${to}`)
    this.#release()
  }

  /** This node takes nothing, as a process that was sent SIGSTOP. */
  freeze(node: NodeId): void {
    this.#frozen.add(node)
  }

  /** It goes on, and finds what came meanwhile. */
  thaw(node: NodeId): void {
    this.#frozen.delete(node)
    this.#release()
  }

  /** Whether bytes get from one to the other; the process there may stand still all the same. */
  passes(from: NodeId, to: NodeId): boolean {
    return this.#muted.size === 0 || !this.#muted.has(`${from} ${to}`)
  }

  /** Whether one gets an answer of the other's process. */
  answers(one: NodeId, two: NodeId): boolean {
    return this.passes(one, two) && this.passes(two, one) && !this.#frozen.has(two)
  }

  /** Something arrives, now or as soon as it can. */
  deliver(from: NodeId, to: NodeId, arrive: () => void): void {
    if (this.passes(from, to) && !this.#frozen.has(to)) arrive()
    else this.#held.push({ from, to, arrive })
  }

  #release(): void {
    const held = this.#held
    this.#held = []
    for (const { from, to, arrive } of held) this.deliver(from, to, arrive)
  }
}
