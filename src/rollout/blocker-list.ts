import type { NodeId } from '../core/ids.js'
import type { ConvergenceBlocker } from './assessment.js'

/** Blockers sorted by node. Whoever reads them gets the same frozen list until one changes; a change costs one copy. */
export class BlockerList {
  #list: readonly ConvergenceBlocker[] = []
  /** The list while nobody has seen it. */
  #draft: ConvergenceBlocker[] | undefined

  /** The blockers, sorted by node. */
  read(): readonly ConvergenceBlocker[] {
    if (this.#draft !== undefined) this.#list = Object.freeze(this.#draft)
    this.#draft = undefined
    return this.#list
  }

  /** Sets what blocks a node, or that nothing does any more. */
  set(nodeId: NodeId, before: ConvergenceBlocker | undefined, after: ConvergenceBlocker | undefined): void {
    if (before === after) return
    const draft = (this.#draft ??= [...this.#list])
    draft.splice(placeOf(draft, nodeId), before === undefined ? 0 : 1, ...(after === undefined ? [] : [after]))
  }
}

/** Where a node's blocker is, or would be. */
function placeOf(sorted: readonly ConvergenceBlocker[], nodeId: NodeId): number {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const found = sorted[middle]
    if (found !== undefined && found.nodeId < nodeId) low = middle + 1
    else high = middle
  }
  return low
}
