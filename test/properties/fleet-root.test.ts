import fc from 'fast-check'
import { expect, test } from 'vitest'
import { chooseChain } from '../../src/identity/root-chain.js'
import {
  decodeSignedRoot,
  draftNext,
  encodeSignedRoot,
  fleetIdOf,
  rootHash,
  verifyChain,
  verifyFirst,
  verifyNext,
  type SignedRoot
} from '../../src/identity/fleet-root.js'
import { firstRoot, idsOf, nextRoot, rootKey, signedBy } from '../support/fleet-roots.js'

const ids = await idsOf(1, 2, 3)
const rootKeys = await Promise.all(Array.from({ length: 6 }, async (_, number) => (await rootKey(number)).nodeId))
const first = await firstRoot({ keys: rootKeys.slice(0, 3), threshold: 2, operators: ids.slice(0, 1) }, 0, 1)
const second = await nextRoot(first, { keys: rootKeys.slice(1, 4), publishers: ids, members: ids, expires: 7 }, 1, 2)
const encoded = [first, second].map(encodeSignedRoot) as [Uint8Array, Uint8Array]

function isAccepted(bytes: Uint8Array, verify: (root: SignedRoot) => void): boolean {
  try {
    verify(decodeSignedRoot(bytes))
    return true
  } catch {
    return false
  }
}

const verifiers = [
  (root: SignedRoot) => verifyFirst(fleetIdOf(first), root),
  (root: SignedRoot) => verifyNext(first, root)
] as const

test('[ROOT-4] no byte of a signed root can be changed, in any place', () => {
  for (const version of [0, 1] as const) {
    expect(isAccepted(encoded[version], verifiers[version])).toBe(true)
    for (let at = 0; at < encoded[version].byteLength; at++) {
      const changed = encoded[version].slice()
      changed[at] = (changed[at] ?? 0) ^ (1 << ((at * 5) & 7))
      if (isAccepted(changed, verifiers[version]))
        throw new Error(`byte ${at} of version ${version + 1} can be changed`)
    }
  }
})

test('[ROOT-4] no splice of signed roots and foreign bytes is accepted', () => {
  const bytes = fc.constantFrom(...encoded)
  const splice = fc
    .record({ base: bytes, at: fc.nat(600), cut: fc.nat(80), with: fc.oneof(fc.uint8Array({ maxLength: 40 }), bytes) })
    .map(({ base, at, cut, with: foreign }) => Buffer.concat([base.subarray(0, at), foreign, base.subarray(at + cut)]))
  fc.assert(
    fc.property(splice, fc.constantFrom(0, 1), (changed, version) => {
      const isUnchanged = encoded.some((each) => Buffer.compare(each, changed) === 0)
      return isUnchanged || !isAccepted(changed, version === 0 ? verifiers[0] : verifiers[1])
    }),
    { numRuns: 2000 }
  )
})

/** One step of a life of a root: which keys it gets, how many must sign, and who does sign. */
const rotation = fc.record({
  keys: fc.uniqueArray(fc.nat(5), { minLength: 1, maxLength: 4 }),
  threshold: fc.integer({ min: 1, max: 4 }),
  signers: fc.uniqueArray(fc.nat(5), { minLength: 1, maxLength: 6 })
})

test('[ROOT-2] over any sequence of rotations a root is accepted exactly when enough old and enough new keys signed it', async () => {
  const oracle = (signers: readonly number[], keys: readonly number[], threshold: number): boolean =>
    signers.filter((signer) => keys.includes(signer)).length >= threshold
  await fc.assert(
    fc.asyncProperty(fc.array(rotation, { minLength: 1, maxLength: 6 }), async (rotations) => {
      let current = { keys: [0, 1, 2], threshold: 2 }
      const chain = [first]
      for (const { keys, threshold: wanted, signers } of rotations) {
        const threshold = Math.min(wanted, keys.length)
        const before = chain.at(-1) ?? first
        const draft = draftNext(before.root, {
          keys: keys.flatMap((at) => rootKeys[at] ?? []),
          threshold,
          issuedAt: chain.length
        })
        // Whoever has no say is refused on sight, which another test shows.
        const entitled = signers.filter((signer) => [...keys, ...current.keys].includes(signer))
        const next = entitled.length === 0 ? draft : await signedBy(draft, ...entitled)
        const expected = oracle(entitled, current.keys, current.threshold) && oracle(entitled, keys, threshold)
        expect(isAccepted(encodeSignedRoot(next), (root) => verifyNext(before, root))).toBe(expected)
        if (!expected) continue
        current = { keys, threshold }
        chain.push(next)
      }
      for (let length = 1; length <= chain.length; length++) {
        const prefix = chain.slice(0, length)
        expect(verifyChain(fleetIdOf(first), prefix)).toBe(prefix.at(-1))
        expect(chooseChain(prefix, chain).chain.length).toBe(chain.length)
        expect(chooseChain(chain, prefix).chain).toBe(chain)
      }
    }),
    { numRuns: 60 }
  )
})

test('[ROOT-10] of any number of chains, the same one is left in whatever order they are met', async () => {
  const root = await firstRoot()
  const grow = async (chain: readonly SignedRoot[], branch: number): Promise<SignedRoot[]> => [
    ...chain,
    await nextRoot(chain.at(-1) ?? root, { issuedAt: branch })
  ]
  const chains: SignedRoot[][] = [[root]]
  for (const parent of [0, 0, 1, 1, 2, 3, 5]) chains.push(await grow(chains[parent] ?? [root], chains.length))
  const endOf = (order: readonly number[]): string => {
    let known: readonly SignedRoot[] = []
    for (const at of order) known = chooseChain(known, chains[at] ?? []).chain
    return known.map(rootHash).join(' ')
  }
  const all = chains.map((_, at) => at)
  fc.assert(
    fc.property(fc.shuffledSubarray(all, { minLength: all.length }), (order) => {
      expect(endOf(order)).toBe(endOf(all))
    })
  )
})

test('[ROOT-10] a root that changes the keys counts before one that does not, and is never left, not even for a longer chain of the old keys', async () => {
  const root = await firstRoot()
  const rotated = await signedBy(
    draftNext(root.root, { keys: [rootKeys[1] ?? expect.unreachable()], issuedAt: 1 }),
    0,
    1
  )
  for (let attempt = 2; attempt < 10; attempt++) {
    // Some of these have a lower hash than the rotation, some a higher one.
    const plain = await nextRoot(root, { issuedAt: attempt })
    const longer = [root, plain, await nextRoot(plain, { issuedAt: attempt })]
    expect(chooseChain([root, rotated], longer)).toMatchObject({
      chain: [root, rotated],
      fork: { kept: rotated, refused: plain }
    })
    expect(chooseChain(longer, [root, rotated])).toMatchObject({ chain: [root, rotated], fork: { version: 2 } })
  }
  const rival = await signedBy(draftNext(root.root, { keys: [rootKeys[2] ?? expect.unreachable()], issuedAt: 1 }), 0, 2)
  expect(chooseChain([root, rotated], [root, rival])).toMatchObject({
    chain: [root, rotated],
    fork: { refused: rival }
  })
  expect(chooseChain([root, rival], [root, rotated])).toMatchObject({
    chain: [root, rival],
    fork: { refused: rotated }
  })
})
