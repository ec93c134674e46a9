import type { NodeId } from '../core/ids.js'

/** Which nodes of a simulation can reach each other at all: cables, isolation and partitions. Whoever is cut off is told. */
export class Reach {
  readonly #cuts = new Set<string>()
  readonly #isolated = new Set<NodeId>()
  /** The part of the mesh that a node is in while it is partitioned; a node in none reaches all. */
  #partOf: ReadonlyMap<NodeId, number> = new Map()

  cut(one: NodeId, two: NodeId): void {
    this.#cuts.add(pairOf(one, two))
  }

  /** Mends the cable between two nodes, or ends the isolation of one. */
  heal(one: NodeId, two?: NodeId): void {
    if (two === undefined) this.#isolated.delete(one)
    else this.#cuts.delete(pairOf(one, two))
  }

  isolate(node: NodeId): void {
    this.#isolated.add(node)
  }

  /** Who is in different parts does not reach each other. Takes the place of the partition before. */
  partition(parts: readonly (readonly NodeId[])[]): void {
    this.#partOf = new Map(parts.flatMap((part, number) => part.map((node) => [node, number] as const)))
  }

  healAll(): void {
    this.#cuts.clear()
    this.#isolated.clear()
    this.#partOf = new Map()
  }

  isCut(one: NodeId, two: NodeId): boolean {
    if (this.#isolated.has(one) || this.#isolated.has(two)) return true
    const [a, b] = [this.#partOf.get(one), this.#partOf.get(two)]
    const isParted = a !== undefined && b !== undefined && a !== b
    return isParted || (this.#cuts.size > 0 && this.#cuts.has(pairOf(one, two)))
  }
}

function pairOf(one: NodeId, two: NodeId): string {
  return one < two ? `${one} ${two}` : `${two} ${one}`
}
