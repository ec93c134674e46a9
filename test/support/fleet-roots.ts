import type { NodeId } from '../../src/core/ids.js'
import {
  createRoot,
  draftNext,
  fleetIdOf,
  signRoot,
  type FleetRoot,
  type RootChanges,
  type SignedRoot
} from '../../src/identity/fleet-root.js'
import type { KeyPair } from '../../src/identity/keypair.js'
import type { RootKeeperInit } from '../../src/record/root-keeper.js'
import { keyPairOf } from '../unit/record/fixtures.js'

/** Numbers of keys that sign roots in tests; nodes have the numbers below. */
export const rootKey = (number: number): Promise<KeyPair> => keyPairOf(100 + number)

/** The ids of the nodes with these numbers. */
export async function idsOf(...numbers: number[]): Promise<NodeId[]> {
  return Promise.all(numbers.map(async (number) => (await keyPairOf(number)).nodeId))
}

/** A root signed by these root keys, 0 unless told otherwise. */
export async function signedBy(draft: SignedRoot, ...numbers: number[]): Promise<SignedRoot> {
  const keyPairs = await Promise.all((numbers.length === 0 ? [0] : numbers).map(rootKey))
  return keyPairs.reduce(signRoot, draft)
}

/** The first root of a fleet: root key 0 alone, members open, no roles. */
export async function firstRoot(changes: Partial<FleetRoot> = {}, ...signers: number[]): Promise<SignedRoot> {
  const plain = {
    keys: [(await rootKey(0)).nodeId],
    threshold: 1,
    operators: [],
    publishers: [],
    releaseThreshold: 1,
    members: 'open' as const,
    revoked: [],
    issuedAt: 1000
  }
  return signedBy(createRoot({ ...plain, ...changes }), ...signers)
}

/** The next root, signed by root key 0 unless told otherwise. */
export function nextRoot(
  current: SignedRoot,
  changes: Partial<RootChanges>,
  ...signers: number[]
): Promise<SignedRoot> {
  return signedBy(draftNext(current.root, { issuedAt: 2000, ...changes }), ...signers)
}

/** What a node of that fleet is told. */
export function fleetOf(first: SignedRoot, ...later: SignedRoot[]): RootKeeperInit & { readonly roots: SignedRoot[] } {
  return { fleetId: fleetIdOf(first), roots: [first, ...later] }
}
