import { describe, expect, test } from 'vitest'
import type { NodeId } from '../../../src/core/ids.js'
import { draftNext, type FleetRoot } from '../../../src/identity/fleet-root.js'
import { changesOf, describeChanges, missingSigners, type RootWish } from '../../../src/mesh/root-change.js'
import { firstRoot, idsOf, rootKey, signedBy } from '../../support/fleet-roots.js'
import { caught } from '../core/caught.js'

const [a, b, c] = (await idsOf(1, 2, 3)) as [NodeId, NodeId, NodeId]
const [k0, k1, k2] = (await Promise.all([0, 1, 2].map(async (number) => (await rootKey(number)).nodeId))) as [
  NodeId,
  NodeId,
  NodeId
]
const { root: open } = await firstRoot({ operators: [a], publishers: [a] })
const { root: listed } = await firstRoot({ operators: [a], members: [b] })

function after(root: FleetRoot, ...wishes: RootWish[]): FleetRoot {
  return draftNext(root, { ...changesOf(root, wishes), issuedAt: 1 }).root
}

describe('[TICKET-15] wishes', () => {
  test('roles, members, thresholds and keys change what they name and nothing else', () => {
    expect(after(open, { type: 'add', id: b, place: 'publisher' })).toMatchObject({
      publishers: [a, b].sort(),
      operators: [a]
    })
    expect(after(open, { type: 'remove', id: a, place: 'operator' })).toMatchObject({ operators: [], publishers: [a] })
    expect(after(listed, { type: 'add', id: c, place: 'member' })).toMatchObject({ members: [b, c].sort() })
    expect(after(open, { type: 'members', members: [c] })).toMatchObject({ members: [c], operators: [a] })
    expect(after(open, { type: 'add', id: k1, place: 'root' })).toMatchObject({ keys: [k0, k1].sort(), threshold: 1 })
    expect(after(open, { type: 'threshold', threshold: 2, keys: [k0, k1] })).toMatchObject({ threshold: 2 })
    expect(after(open, { type: 'replace', old: k0, key: k2 })).toMatchObject({ keys: [k2] })
  })

  test('whoever is revoked or no member any more keeps no role; whoever is added again is revoked no longer', () => {
    const revoked = after(open, { type: 'revoke', id: a })
    expect(revoked).toMatchObject({ revoked: [a], operators: [], publishers: [] })
    expect(after(revoked, { type: 'add', id: a, place: 'member' })).toMatchObject({ revoked: [], operators: [] })
    expect(after(revoked, { type: 'add', id: a, place: 'operator' })).toMatchObject({ revoked: [], operators: [a] })
    expect(after(listed, { type: 'revoke', id: b })).toMatchObject({ members: [], revoked: [b] })
    expect(after(listed, { type: 'remove', id: a, place: 'member' })).toMatchObject({ members: [b], operators: [] })
  })

  test.each<[string, FleetRoot, RootWish]>([
    ['a role that it has', open, { type: 'add', id: a, place: 'operator' }],
    ['a role that it has not', open, { type: 'remove', id: b, place: 'operator' }],
    ['a member where all are', open, { type: 'add', id: b, place: 'member' }],
    ['no member where all are', open, { type: 'remove', id: b, place: 'member' }],
    ['a member that is one', listed, { type: 'add', id: b, place: 'member' }],
    ['no member that is none', listed, { type: 'remove', id: c, place: 'member' }],
    ['more publishers than there are', open, { type: 'releases', threshold: 2 }],
    ['more keys than there are', open, { type: 'threshold', threshold: 2 }],
    ['the last key away', open, { type: 'remove', id: k0, place: 'root' }]
  ])('%s is INVALID_REQUEST', (_, root, wish) => {
    expect(caught(() => after(root, wish))?.code).toBe('INVALID_REQUEST')
  })
})

test('[TICKET-15] who must still sign: of each threshold that is not reached, the keys that have not', async () => {
  const { root } = await firstRoot({ keys: [k0, k1], threshold: 2 }, 0, 1)
  const draft = draftNext(root, { keys: [k1, k2], issuedAt: 1 })
  expect(missingSigners(root, draft)).toEqual([k0, k1, k2].sort())
  expect(missingSigners(root, await signedBy(draft, 1))).toEqual([k0, k2].sort())
  expect(missingSigners(root, await signedBy(draft, 1, 2))).toEqual([k0])
  expect(missingSigners(root, await signedBy(draft, 0, 1, 2))).toEqual([])
})

test('[TICKET-15] what a draft changes is said, all of it', () => {
  expect(describeChanges(open, after(open, { type: 'revoke', id: a }))).toEqual([
    `operators: - ${a}`,
    `publishers: - ${a}`,
    `revoked: + ${a}`
  ])
  const wishes: RootWish[] = [
    { type: 'add', id: k1, place: 'root' },
    { type: 'threshold', threshold: 2 },
    { type: 'members', members: [b] }
  ]
  expect(describeChanges(open, after(open, ...wishes))).toEqual([
    `keys: + ${k1}`,
    'threshold: 1 becomes 2',
    'members: open becomes a list of 1'
  ])
  expect(describeChanges(listed, after(listed, { type: 'add', id: c, place: 'member' }))).toEqual([`members: + ${c}`])
  expect(describeChanges(open, after(open, { type: 'releases', threshold: 1 }))).toEqual([])
})
