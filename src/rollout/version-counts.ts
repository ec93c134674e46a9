import type { Version } from '../core/ids.js'
import { sortedCounts } from './convergence.js'

/** How many nodes run which version. Whoever reads it gets the same frozen object until a count changes. */
export class VersionCounts {
  readonly #counts = new Map<Version, number>()
  #read: Readonly<Record<string, number>> | undefined

  /** The counts, sorted by version. */
  read(): Readonly<Record<string, number>> {
    this.#read ??= Object.freeze(sortedCounts(this.#counts))
    return this.#read
  }

  /** A node that ran one version, or none, runs another, or none. */
  move(before: Version | undefined, after: Version | undefined): void {
    if (before === after) return
    this.#read = undefined
    if (before !== undefined) this.#add(before, -1)
    if (after !== undefined) this.#add(after, 1)
  }

  #add(version: Version, change: number): void {
    const count = (this.#counts.get(version) ?? 0) + change
    if (count === 0) this.#counts.delete(version)
    else this.#counts.set(version, count)
  }
}
