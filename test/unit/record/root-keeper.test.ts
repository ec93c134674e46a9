import { describe, expect, test } from 'vitest'
import { errorCode, MurmurateError } from '../../../src/core/errors.js'
import type { NodeId } from '../../../src/core/ids.js'
import type { Logger } from '../../../src/core/logger.js'
import { rootHash, type SignedRoot } from '../../../src/identity/fleet-root.js'
import { MemoryNetwork } from '../../../src/net/memory-network.js'
import type { RootKeeper, RootKeeperInit } from '../../../src/record/root-keeper.js'
import { fleetOf, firstRoot, idsOf, nextRoot, rootKey } from '../../support/fleet-roots.js'
import { keyPairOf, noteKind, notePage } from './fixtures.js'
import { agree, emptyDisk, textsOf, virtualMesh, type Disk, type RecordNode, type VirtualMesh } from './mesh.js'

const first = await firstRoot()
const fleet = fleetOf(first)
const [id0, id1, id2] = (await idsOf(0, 1, 2)) as [NodeId, NodeId, NodeId]

async function start(
  mesh: VirtualMesh,
  number: number,
  init: RootKeeperInit = fleet,
  options: { readonly disk?: Disk; readonly logger?: Logger } = {}
): Promise<RecordNode> {
  const node = await mesh.node(number, { fleet: init, ...options })
  await mesh.environment.clock.run(node.start())
  await mesh.environment.clock.advance(300)
  return node
}

async function startAll(
  mesh: VirtualMesh,
  count: number,
  init = fleet
): Promise<[RecordNode, RecordNode, ...RecordNode[]]> {
  const nodes: RecordNode[] = []
  for (let number = 0; number < count; number++) nodes.push(await start(mesh, number, init))
  return nodes as [RecordNode, RecordNode, ...RecordNode[]]
}

const rootOf = ({ root }: RecordNode): RootKeeper => {
  if (root === undefined) throw new Error('The node has no fleet')
  return root
}
const versionOf = (node: RecordNode): number => rootOf(node).current?.root.version ?? 0
const install = (mesh: VirtualMesh, node: RecordNode, root: SignedRoot): Promise<unknown> =>
  mesh.environment.clock.run(rootOf(node).install(root).catch(errorCode))
const write = (mesh: VirtualMesh, node: RecordNode, text: string): Promise<unknown> =>
  mesh.environment.clock.run(node.document.write(noteKind, notePage, { text }).catch(errorCode))

describe('how a root comes to every node', () => {
  test('[ROOT-6] a node that knows the fleet id alone has no rights until a peer tells it the roots', async () => {
    const mesh = virtualMesh(1, { maxLinks: 0 })
    const [one, two] = [await start(mesh, 0), await start(mesh, 1, { fleetId: fleet.fleetId })]
    expect([rootOf(two).isMember(id1), rootOf(two).current, await write(mesh, two, 'x')]).toEqual([
      false,
      undefined,
      'NOT_PERMITTED'
    ])
    expect(await write(mesh, one, 'from one')).toBeUndefined()
    await mesh.environment.clock.run(two.network.dial(one.network.addresses()[0] ?? ''))
    await mesh.environment.clock.advance(1000)
    expect([versionOf(two), textsOf(two), await write(mesh, two, 'from two')]).toEqual([1, ['from one'], undefined])
    await mesh.environment.clock.advance(1000)
    expect([textsOf(one), agree([one, two])]).toEqual([['from one', 'from two'], true])
    expect(two.disk.roots?.map(rootHash)).toEqual([rootHash(first)])
  })

  test('[ROOT-8] a root that is installed on one node reaches all within a second, over any number of hops', async () => {
    const mesh = virtualMesh(7, { maxLinks: 1 })
    const nodes = await startAll(mesh, 8)
    let changes = 0
    for (const node of nodes) rootOf(node).onChange(() => changes++)
    expect(await install(mesh, nodes[3] ?? nodes[0], await nextRoot(first, { operators: [id1] }))).toBeUndefined()
    await mesh.environment.clock.advance(1000)
    expect(
      nodes.map((node) => [versionOf(node), rootOf(node).hasRole(id1, 'operator'), node.disk.roots?.length])
    ).toEqual(nodes.map(() => [2, true, 2]))
    expect(changes).toBe(nodes.length)
  })

  test('[ROOT-8] a root that is installed while an exchange is under way follows at once', async () => {
    const mesh = virtualMesh(1, { maxLinks: 0, latencyMs: [50, 50] })
    const [one, two] = await startAll(mesh, 2)
    const [lower, higher] = id0 < id1 ? [one, two] : [two, one]
    await mesh.environment.clock.run(lower.network.dial(higher.network.addresses()[0] ?? ''))
    // One latency to open the channel, then the versions are on their way.
    await mesh.environment.clock.advance(70)
    await install(mesh, lower, await nextRoot(first, { operators: [id1] }))
    await mesh.environment.clock.advance(1000)
    expect([one, two].map(versionOf)).toEqual([2, 2])
  })

  test('[ROOT-8] a node that was away gets all versions that it missed', async () => {
    const mesh = virtualMesh(1)
    const [one, two, three] = (await startAll(mesh, 3)) as [RecordNode, RecordNode, RecordNode]
    mesh.hub.isolate(id2)
    let current = first
    for (const operators of [[id0], [id1], [id2]]) {
      current = await nextRoot(current, { operators })
      await install(mesh, one, current)
    }
    await mesh.environment.clock.advance(1000)
    expect([one, two, three].map(versionOf)).toEqual([4, 4, 1])
    mesh.hub.heal(id2)
    await mesh.environment.clock.advance(1000)
    expect(rootOf(three).chain.map(({ root }) => root.version)).toEqual([1, 2, 3, 4])
  })

  test('[ROOT-7] the roots survive a restart, and an older backup of them is made up for', async () => {
    const mesh = virtualMesh(1)
    const [one, two] = await startAll(mesh, 2)
    const backup = { ...one.disk }
    await install(mesh, one, await nextRoot(first, { operators: [id1] }))
    await mesh.environment.clock.advance(1000)
    await mesh.environment.clock.run(one.stop())
    const alone = virtualMesh(2)
    expect(versionOf(await start(alone, 0, { fleetId: fleet.fleetId }, { disk: one.disk }))).toBe(2)
    const restored = await start(mesh, 0, fleet, { disk: backup })
    await mesh.environment.clock.advance(1000)
    expect([versionOf(restored), versionOf(two), agree([restored, two])]).toEqual([2, 2, true])
  })

  test('[ROOT-7] roots that the node is given later than it has them do not take it back', async () => {
    const mesh = virtualMesh(1)
    const second = await nextRoot(first, { operators: [id1] })
    const disk = { ...emptyDisk(), roots: [first, second] }
    expect(versionOf(await start(mesh, 0, fleet, { disk }))).toBe(2)
    expect(versionOf(await start(mesh, 1, fleetOf(first, second)))).toBe(2)
  })

  test('[ROOT-7] given roots of another fleet are refused at the start', async () => {
    const mesh = virtualMesh(1)
    const foreign = await firstRoot({ issuedAt: 9 })
    const node = await mesh.node(0, { fleet: { fleetId: fleet.fleetId, roots: [foreign] } })
    expect(await mesh.environment.clock.run(node.start().catch(errorCode))).toBe('ROOT_REFUSED')
    await mesh.environment.clock.run(node.stop())
  })

  test('[ROOT-8] only the next root can be installed, and only while the node runs', async () => {
    const mesh = virtualMesh(1)
    const [one] = await startAll(mesh, 1)
    const second = await nextRoot(first, { operators: [id1] })
    const third = await nextRoot(second, {})
    expect(await install(mesh, one, third)).toBe('ROOT_REFUSED')
    expect(await install(mesh, one, await nextRoot(first, {}, 1))).toBe('ROOT_REFUSED')
    expect([await install(mesh, one, second), await install(mesh, one, second), versionOf(one)]).toEqual([
      undefined,
      undefined,
      2
    ])
    expect(await install(mesh, one, await nextRoot(first, { operators: [id2] }))).toBe('ROOT_REFUSED')
    await mesh.environment.clock.run(one.stop())
    expect(await install(mesh, one, third)).toBe('NOT_STARTED')
  })

  test('[ROOT-7] a root that cannot be kept is not put in force by its owner, but one that a peer sends is', async () => {
    const mesh = virtualMesh(1)
    const [one, two] = await startAll(mesh, 2)
    one.disk.failure = new MurmurateError('INSUFFICIENT_STORAGE', 'The disk is full')
    const second = await nextRoot(first, { operators: [id1] })
    expect([await install(mesh, one, second), versionOf(one)]).toEqual(['INSUFFICIENT_STORAGE', 1])
    expect(await install(mesh, two, second)).toBeUndefined()
    await mesh.environment.clock.advance(1000)
    expect([versionOf(one), one.disk.roots?.length]).toEqual([2, 1])
    one.disk.failure = undefined
    await install(mesh, two, await nextRoot(second, {}))
    await mesh.environment.clock.advance(1000)
    expect([versionOf(one), one.disk.roots?.length]).toEqual([3, 3])
  })

  test('[ROOT-22] a root that has expired stays in force, and says so', async () => {
    const mesh = virtualMesh(1)
    const now = mesh.environment.clock.now()
    const expiring = await firstRoot({ expires: now + 60_000 })
    const [one, two] = await startAll(mesh, 2, fleetOf(expiring))
    expect(rootOf(one).isExpired).toBe(false)
    await mesh.environment.clock.advance(60_000)
    expect([rootOf(one).isExpired, await write(mesh, one, 'still')]).toEqual([true, undefined])
    await mesh.environment.clock.advance(1000)
    expect(textsOf(two)).toEqual(['still'])
    await install(mesh, two, await nextRoot(expiring, {}))
    expect(rootOf(two).isExpired).toBe(false)
  })
})

describe('who is out', () => {
  test('[ROOT-15] a revoked node is cut off everywhere, its entries leave every document, also one that was away', async () => {
    const mesh = virtualMesh(1)
    const nodes = (await startAll(mesh, 5)) as [RecordNode, RecordNode, RecordNode, RecordNode, RecordNode]
    const revoked = nodes[4]
    for (const node of nodes) await write(mesh, node, `from ${node.number}`)
    await mesh.environment.clock.advance(1000)
    expect(nodes.map((node) => textsOf(node).length)).toEqual([5, 5, 5, 5, 5])
    mesh.hub.isolate(id2)
    await mesh.environment.clock.advance(1000)
    await install(mesh, nodes[0], await nextRoot(first, { revoked: [revoked.keyPair.nodeId] }))
    await mesh.environment.clock.advance(1000)
    expect(revoked.network.peers()).toEqual([])
    const [away, ...near] = [nodes[2], nodes[0], nodes[1], nodes[3]] as const
    expect([textsOf(away).length, ...near.map((node) => textsOf(node).length)]).toEqual([5, 4, 4, 4])
    await write(mesh, revoked, 'again')
    mesh.hub.heal(id2)
    await mesh.environment.clock.advance(60_000)
    const others = nodes.slice(0, 4)
    expect(others.map((node) => textsOf(node))).toEqual(others.map(() => ['from 0', 'from 1', 'from 2', 'from 3']))
    expect([agree(others), revoked.network.peers()]).toEqual([true, []])
    await mesh.environment.clock.run(nodes[1].stop())
    const restarted = await start(mesh, 1, fleet, { disk: nodes[1].disk })
    expect([versionOf(restarted), textsOf(restarted).length]).toEqual([2, 4])
    expect(restarted.network.peers()).not.toContain(revoked.keyPair.nodeId)
  })

  test('[ROOT-15] a node whose revocation is lifted comes back with what it wrote', async () => {
    const mesh = virtualMesh(1)
    const [one, two] = await startAll(mesh, 2)
    await write(mesh, two, 'mine')
    await mesh.environment.clock.advance(1000)
    const second = await nextRoot(first, { revoked: [id1] })
    await install(mesh, one, second)
    expect([textsOf(one), one.network.peers()]).toEqual([[], []])
    await install(mesh, one, await nextRoot(second, { revoked: [] }))
    await mesh.environment.clock.advance(60_000)
    expect([textsOf(one), versionOf(two), agree([one, two])]).toEqual([['mine'], 3, true])
  })

  test('[ROOT-16] of a closed fleet a stranger learns the root and nothing else, and is let in by the next root', async () => {
    const mesh = virtualMesh(1)
    const closed = await firstRoot({ members: [id0, id1] })
    const nodes = (await startAll(mesh, 3, fleetOf(closed))) as [RecordNode, RecordNode, RecordNode]
    await write(mesh, nodes[0], 'secret')
    expect(await write(mesh, nodes[2], 'intruder')).toBe('NOT_PERMITTED')
    await mesh.environment.clock.advance(60_000)
    expect([versionOf(nodes[2]), textsOf(nodes[1]), textsOf(nodes[2])]).toEqual([1, ['secret'], []])
    await install(mesh, nodes[0], await nextRoot(closed, { members: [id0, id1, id2] }))
    await mesh.environment.clock.advance(1000)
    expect([textsOf(nodes[2]), await write(mesh, nodes[2], 'hello')]).toEqual([['secret'], undefined])
    await mesh.environment.clock.advance(1000)
    expect([textsOf(nodes[1]), agree(nodes)]).toEqual([['hello', 'secret'], true])
  })

  test('[ROOT-16] strangers take 32 links at most, and none of a member', async () => {
    const mesh = virtualMesh(1, { maxLinks: 0 })
    const closed = await firstRoot({ members: [id0, id1] })
    const [one, two] = await startAll(mesh, 2, fleetOf(closed))
    await mesh.environment.clock.run(two.network.dial(one.network.addresses()[0] ?? ''))
    for (let number = 10; number < 50; number++) {
      const stranger = new MemoryNetwork({ nodeId: (await keyPairOf(number)).nodeId, hub: mesh.hub })
      stranger.start()
      await mesh.environment.clock.run(stranger.dial(one.network.addresses()[0] ?? ''))
    }
    await mesh.environment.clock.advance(1000)
    expect([one.network.peers().length, one.network.peers().includes(id1)]).toEqual([33, true])
  })

  test('[ROOT-10] of two roots of one version the same is in force everywhere after a partition, and whoever had the other has the proof', async () => {
    const mesh = virtualMesh(1)
    const nodes = (await startAll(mesh, 4)) as [RecordNode, RecordNode, RecordNode, RecordNode]
    for (const near of [0, 1]) for (const far of [2, 3]) mesh.hub.cut(await id(near), await id(far))
    const [a, b] = [await nextRoot(first, { operators: [id0] }), await nextRoot(first, { operators: [id2] })]
    await install(mesh, nodes[0], a)
    await install(mesh, nodes[0], await nextRoot(a, { publishers: [id0] }))
    await install(mesh, nodes[2], b)
    await install(mesh, nodes[2], await nextRoot(b, { publishers: [id2] }))
    await mesh.environment.clock.advance(1000)
    expect(nodes.map((node) => rootOf(node).forks.length)).toEqual([0, 0, 0, 0])
    for (const near of [0, 1]) for (const far of [2, 3]) mesh.hub.heal(await id(near), await id(far))
    await mesh.environment.clock.advance(5000)
    const [kept, refused] = rootHash(a) < rootHash(b) ? [a, b] : [b, a]
    for (const node of nodes) {
      expect(rootOf(node).chain.map(rootHash)[1]).toBe(rootHash(kept))
      expect(versionOf(node)).toBe(3)
    }
    const proofs = nodes.flatMap((node) => rootOf(node).forks)
    const losers = kept === a ? nodes.slice(2) : nodes.slice(0, 2)
    expect(losers.map((node) => rootOf(node).forks.length)).toEqual([1, 1])
    for (const fork of proofs)
      expect([fork.version, rootHash(fork.kept), rootHash(fork.refused)]).toEqual([
        2,
        rootHash(kept),
        rootHash(refused)
      ])
    expect([agree(nodes), nodes.every(({ network }) => network.peers().length === 3)]).toEqual([true, true])
  })
})

async function id(number: number): Promise<NodeId> {
  return (await keyPairOf(number)).nodeId
}

test('[ROOT-7] start and stop twice are harmless, and root keys are no nodes', async () => {
  const mesh = virtualMesh(1)
  const [one] = await startAll(mesh, 1)
  await mesh.environment.clock.run(rootOf(one).start())
  await mesh.environment.clock.run(one.stop())
  await mesh.environment.clock.run(one.stop())
  expect(rootOf(one).hasRole((await rootKey(0)).nodeId, 'operator')).toBe(false)
})
