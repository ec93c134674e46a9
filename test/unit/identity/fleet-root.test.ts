import { expect, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.js'
import { authorityOf } from '../../../src/identity/authority.js'
import {
  createRoot,
  decodeSignedRoot,
  draftNext,
  encodeSignedRoot,
  fleetIdOf,
  signRoot,
  verifyChain
} from '../../../src/identity/fleet-root.js'
import { ephemeralKeyPair } from '../../../src/identity/keypair.js'

test('smoke', async () => {
  const [a, b] = await Promise.all([
    ephemeralKeyPair(systemEnvironment.random),
    ephemeralKeyPair(systemEnvironment.random)
  ])
  const first = signRoot(
    createRoot({
      keys: [a.nodeId],
      threshold: 1,
      operators: [a.nodeId],
      publishers: [],
      releaseThreshold: 1,
      members: 'open',
      revoked: [],
      issuedAt: 5
    }),
    a
  )
  const next = signRoot(signRoot(draftNext(first.root, { keys: [b.nodeId], issuedAt: 6 }), a), b)
  const back = decodeSignedRoot(encodeSignedRoot(next))
  expect(encodeSignedRoot(back)).toEqual(encodeSignedRoot(next))
  expect(verifyChain(fleetIdOf(first), [first, back])).toBe(back)
  expect(authorityOf(back).hasRole(a.nodeId, 'operator')).toBe(true)
})
