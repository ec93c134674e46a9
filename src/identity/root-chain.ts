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
 * Chooses between two verified chains of one fleet: the longer one; where they part, whatever follows,
 * - a root that changed the keys or their threshold before one that did not, and it is never left again: else whoever steals
 *   keys that were retired could sign a rival of the root that retired them;
 * - of two that did not, which happens when two holders of the keys act at once, the one with the lower hash: the same one on
 *   every node, in whatever order they are met.
 *
 * Two rivals that both changed the keys leave each node with the one it met first. No rule could do better, for the keys that
 * signed either are no authority any more; the proof is kept, and people must choose.
 */
export function chooseChain(known: readonly SignedRoot[], offered: readonly SignedRoot[]): ChainChoice {
  const at = known.findIndex((root, index) => !isSame(root, offered[index]))
  const [ours, theirs] = at < 0 ? [undefined, offered[known.length]] : [known[at], offered[at]]
  if (theirs === undefined) return { chain: known }
  if (ours === undefined) return { chain: offered }
  const parent = known[at - 1]
  const takesTheirs =
    isRotation(parent, theirs) === isRotation(parent, ours)
      ? !isRotation(parent, ours) && rootHash(theirs) < rootHash(ours)
      : isRotation(parent, theirs)
  const [kept, refused] = takesTheirs ? [theirs, ours] : [ours, theirs]
  return { chain: takesTheirs ? offered : known, fork: { version: kept.root.version, kept, refused } }
}

/** Whether a root has other keys than the one before it, or needs another number of them. */
function isRotation(parent: SignedRoot | undefined, { root }: SignedRoot): boolean {
  if (parent === undefined) return false
  return root.threshold !== parent.root.threshold || root.keys.join() !== parent.root.keys.join()
}

function isSame(root: SignedRoot, other: SignedRoot | undefined): boolean {
  return other !== undefined && rootHash(root) === rootHash(other)
}
