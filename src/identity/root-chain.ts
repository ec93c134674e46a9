import { rootHash, type SignedRoot } from './fleet-root.js'

/** Proof that enough root keys signed two different roots of one version. */
export interface RootFork {
  readonly version: number
  /** The one in force. */
  readonly kept: SignedRoot
  readonly refused: SignedRoot
}

/** Which of two chains counts. */
export interface ChainChoice {
  readonly chain: readonly SignedRoot[]
  readonly fork?: RootFork
}

/**
 * Chooses between two verified chains of one fleet, alike on every node: the longer one; where they part, the one with the lower
 * hash there, whatever follows. The order in which chains are met does not matter: of any number, the same one is left.
 */
export function chooseChain(known: readonly SignedRoot[], offered: readonly SignedRoot[]): ChainChoice {
  const at = known.findIndex((root, index) => !isSame(root, offered[index]))
  const [ours, theirs] = at < 0 ? [undefined, offered[known.length]] : [known[at], offered[at]]
  if (theirs === undefined) return { chain: known }
  if (ours === undefined) return { chain: offered }
  const isLower = rootHash(theirs) < rootHash(ours)
  const [kept, refused] = isLower ? [theirs, ours] : [ours, theirs]
  return { chain: isLower ? offered : known, fork: { version: kept.root.version, kept, refused } }
}

function isSame(root: SignedRoot, other: SignedRoot | undefined): boolean {
  return other !== undefined && rootHash(root) === rootHash(other)
}
