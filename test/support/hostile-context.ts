import type { Random } from '../../src/core/environment.js'
import type { NodeId, PageId } from '../../src/core/ids.js'
import type { KeyPair } from '../../src/identity/keypair.js'
import type { Chain } from '../../src/record/yjs-update.js'

/** An entry of another that went by. */
export interface Captured {
  readonly page: PageId
  readonly chain: Chain
}

/** What a hostile member knows and has. */
export interface HostileContext {
  /** Its own keys: it is a member like any other. */
  readonly keyPair: KeyPair
  readonly random: Random
  /** Pages on which it may write its own entry. */
  readonly ownPages: readonly PageId[]
  /** Pages that others write, and on some of which it may not. */
  readonly otherPages: readonly PageId[]
  /** In whose names it speaks. */
  readonly victims: readonly NodeId[]
  readonly captured: readonly Captured[]
  /** The next clock of its own entries, by page. */
  readonly clocks: Map<PageId, number>
}

/** A whole number below the bound. */
export function below(random: Random, bound: number): number {
  return Math.floor(random.float() * bound)
}

/** One of the items; undefined when there is none. */
export function pick<Item>(random: Random, items: readonly Item[]): Item | undefined {
  return items[below(random, items.length)]
}
