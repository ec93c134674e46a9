import { expect, test } from 'vitest'
import { errorCode } from '../../../src/core/errors.js'
import type { NodeId } from '../../../src/core/ids.js'
import type { SignedRoot } from '../../../src/identity/fleet-root.js'
import type { VariantInput } from '../../../src/models/registry.js'
import { nodes as scopeOfNodes } from '../../../src/models/scope.js'
import { fleetOf, firstRoot, idsOf, nextRoot } from '../../support/fleet-roots.js'
import { model, RolloutFleet, version, type FleetNode } from '../../support/rollout-fleet.js'

const [id0, id1, id2, id3] = (await idsOf(0, 1, 2, 3)) as [NodeId, NodeId, NodeId, NodeId]
const v1: readonly VariantInput[] = [{ id: 'any', files: [{ path: 'model-1.0.0:4000000' }] }]

async function startAll(fleet: RolloutFleet, first: SignedRoot, count: number): Promise<FleetNode[]> {
  const nodes: FleetNode[] = []
  for (let number = 0; number < count; number++) nodes.push(await fleet.start(number, { fleet: fleetOf(first) }))
  return nodes
}

async function install(fleet: RolloutFleet, node: FleetNode | undefined, root: SignedRoot): Promise<void> {
  await fleet.clock.run(node?.record.root?.install(root) ?? Promise.reject(new Error('no root')))
  await fleet.clock.advance(1000)
}

const agree = (nodes: readonly FleetNode[]): boolean =>
  new Set(nodes.map(({ record }) => record.document.digest())).size === 1
const runs = (node: FleetNode): string | undefined => node.status.current?.version

test('[ROOT-19] [ROOT-20] a rollout waits for the release to be signed by enough publishers, says so, and then goes on', async () => {
  const fleet = new RolloutFleet()
  const first = await firstRoot({ operators: [id2], publishers: [id0, id1], releaseThreshold: 2 })
  const nodes = (await startAll(fleet, first, 4)) as [FleetNode, FleetNode, FleetNode, FleetNode]
  const [one, two, operator, other] = nodes
  const published = await fleet.clock.run(one.registry.publish(model, '1.0.0', v1))
  expect(published).toMatchObject({ missing: 1, publishers: [id0] })
  await fleet.clock.advance(1000)
  expect(other.registry.get(model, '1.0.0')).toBeUndefined()
  expect([other.registry.models(), other.registry.versions(model)]).toEqual([[], []])
  expect(other.registry.pending()).toEqual([published])
  expect(other.registry.pending(model)).toEqual([published])
  await fleet.clock.run(operator.distribution.distributeModel(model, '1.0.0'))
  await fleet.clock.advance(60_000)
  expect(nodes.map(runs)).toEqual([undefined, undefined, undefined, undefined])
  expect(other.blocker).toBe(`unknown: 1.0.0 needs 1 more signatures of publishers; signed by ${id0}`)
  expect(other.blobs.held.size).toBe(0)
  expect(await fleet.clock.run(one.registry.publish(model, '1.0.0', v1))).toMatchObject({ missing: 1 })
  const signed = await fleet.clock.run(two.registry.publish(model, '1.0.0', v1))
  expect(signed).toMatchObject({ missing: 0, publishers: [id0, id1].toSorted((a, b) => (a < b ? -1 : 1)) })
  await fleet.until('all to run it', () => nodes.every((node) => runs(node) === '1.0.0'))
  expect([other.registry.pending(), other.registry.require(model, '1.0.0')]).toEqual([[], signed])
  await fleet.clock.advance(1000)
  expect(other.distribution.convergenceStatus(model, '1.0.0')).toMatchObject({ totalPlatforms: 4, converged: 4 })
})

test('[ROOT-19] of different bytes under one version those count that enough publishers signed, whatever their hash', async () => {
  const fleet = new RolloutFleet()
  const first = await firstRoot({ publishers: [id0, id1, id2], releaseThreshold: 2 })
  const nodes = (await startAll(fleet, first, 3)) as [FleetNode, FleetNode, FleetNode]
  const publish = (node: FleetNode, path: string): Promise<unknown> =>
    fleet.clock.run(node.registry.publish(model, '1.0.0', [{ id: 'any', files: [{ path }] }]).catch(errorCode))
  await publish(nodes[0], 'mine:100')
  await fleet.clock.advance(1000)
  await publish(nodes[1], 'ours:100')
  await fleet.clock.advance(1000)
  expect(nodes[2].registry.pending().map(({ publishers }) => publishers.length)).toEqual([1, 1])
  await expect(fleet.clock.run(nodes[2].distribution.distributeModel(model, '1.0.0'))).rejects.toThrow(
    'is not known here'
  )
  await publish(nodes[2], 'ours:100')
  await fleet.clock.advance(1000)
  for (const { registry } of nodes) {
    expect(registry.require(model, '1.0.0')).toMatchObject({
      conflicting: false,
      publishers: [id1, id2].toSorted((a, b) => (a < b ? -1 : 1))
    })
    expect(registry.pending().map(({ publishers }) => publishers)).toEqual([[id0]])
  }
  expect(await publish(nodes[0], 'ours:100')).toBe('CONFLICT')
})

test('[ROOT-18] whoever has no role publishes and orders nothing, and is told so before a byte is read', async () => {
  const fleet = new RolloutFleet()
  const first = await firstRoot({ operators: [id0], publishers: [id0] })
  const [boss, plain] = (await startAll(fleet, first, 2)) as [FleetNode, FleetNode]
  const missing = [{ id: 'any', files: [{ path: 'missing' }] }]
  for (const variants of [v1, missing]) {
    expect(await fleet.clock.run(plain.registry.publish(model, '1.0.0', variants).catch(errorCode))).toBe(
      'NOT_PERMITTED'
    )
  }
  expect(plain.blobs.held.size).toBe(0)
  await fleet.publish(boss, ['1.0.0'])
  expect(await fleet.clock.run(plain.distribution.distributeModel(model, '1.0.0').catch(errorCode))).toBe(
    'NOT_PERMITTED'
  )
  const handle = await fleet.clock.run(boss.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('both to run it', () => [boss, plain].every((node) => runs(node) === '1.0.0'))
  expect(await fleet.clock.run(plain.distribution.cancel(handle).catch(errorCode))).toBe('NOT_PERMITTED')
})

test('[ROOT-21] a revoked node is in no verdict, and what it ordered and published is gone, on every node', async () => {
  const fleet = new RolloutFleet()
  const roles = { operators: [id0, id3], publishers: [id0, id3] }
  const first = await firstRoot(roles)
  const nodes = (await startAll(fleet, first, 4)) as [FleetNode, FleetNode, FleetNode, FleetNode]
  const [boss, away, near, thief] = nodes
  await fleet.publish(boss, ['1.0.0'])
  await fleet.clock.run(boss.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('all to run it', () => nodes.every((node) => runs(node) === '1.0.0'))
  await fleet.clock.advance(2000)
  fleet.mesh.hub.isolate(id1)
  await fleet.publish(thief, ['6.6.6'])
  await fleet.clock.run(thief.distribution.distributeModel(model, '6.6.6', scopeOfNodes([id3])))
  await fleet.clock.advance(5000)
  expect(near.distribution.rollouts(model)).toHaveLength(2)
  await install(fleet, boss, await nextRoot(first, { revoked: [id3] }))
  fleet.mesh.hub.heal(id1)
  await fleet.clock.advance(60_000)
  for (const node of [boss, away, near]) {
    expect(node.membership.members().map(({ nodeId }) => nodeId)).not.toContain(id3)
    expect(node.distribution.rollouts(model).map((handle) => String(handle.version))).toEqual(['1.0.0'])
    expect(node.registry.versions(model)).toEqual(['1.0.0'])
    expect(node.distribution.convergenceStatus(model, '1.0.0')).toMatchObject({
      totalPlatforms: 3,
      converged: 3,
      blockers: []
    })
    expect(node.distribution.nodesWithVersion(model, '1.0.0')).toHaveLength(3)
    expect(node.record.network.peers()).not.toContain(id3)
  }
  expect(agree([boss, away, near])).toBe(true)
})

test('[ROOT-21] what a demoted publisher signed stays when another publisher has signed it too, and leaves when not', async () => {
  const fleet = new RolloutFleet()
  const first = await firstRoot({ operators: [id0], publishers: [id0, id1] })
  const nodes = (await startAll(fleet, first, 3)) as [FleetNode, FleetNode, FleetNode]
  await fleet.publish(nodes[1], ['1.0.0', '2.0.0'])
  await fleet.publish(nodes[0], ['1.0.0'])
  expect(nodes[2].registry.versions(model)).toEqual(['2.0.0', '1.0.0'])
  const heard: string[] = []
  nodes[2].registry.onRelease((each) => heard.push(each))
  await install(fleet, nodes[0], await nextRoot(first, { publishers: [id0] }))
  for (const { registry } of nodes) {
    expect(registry.versions(model)).toEqual(['1.0.0'])
    expect(registry.require(model, '1.0.0').publishers).toEqual([id0])
  }
  expect(heard).toContain(model)
  expect([agree(nodes), nodes.map(({ membership }) => membership.members().length)]).toEqual([true, [3, 3, 3]])
})

test('[ROOT-19] a transfer stops when its release does not count any more, and the node says why', async () => {
  const fleet = new RolloutFleet()
  const first = await firstRoot({ operators: [id0], publishers: [id0] })
  const nodes = (await startAll(fleet, first, 2)) as [FleetNode, FleetNode]
  await fleet.publish(nodes[0], ['1.0.0'])
  await fleet.clock.run(nodes[0].distribution.distributeModel(model, '1.0.0'))
  await fleet.until('the transfer', () => nodes[1].status.phase === 'downloading')
  await install(fleet, nodes[0], await nextRoot(first, { releaseThreshold: 2 }))
  await fleet.clock.advance(60_000)
  expect([runs(nodes[1]), nodes[1].status.phase]).toEqual([undefined, 'queued'])
  expect(nodes[1].blocker).toContain('needs 1 more')
})

test('[ROOT-6] a node that does not know the root yet starts, and describes itself once it does', async () => {
  const fleet = new RolloutFleet()
  const first = await firstRoot({ operators: [id0], publishers: [id0] })
  const newcomer = await fleet.start(1, { fleet: { fleetId: fleetOf(first).fleetId } })
  expect(newcomer.membership.members()).toEqual([])
  const boss = await fleet.start(0, { fleet: fleetOf(first) })
  await fleet.clock.advance(2000)
  for (const { membership } of [boss, newcomer])
    expect(membership.members().map(({ online }) => online)).toEqual([true, true])
  await fleet.publish(boss, ['1.0.0'])
  await fleet.clock.run(boss.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('both to run it', () => [boss, newcomer].every((node) => runs(node) === '1.0.0'))
  expect(newcomer.registry.require(model, version('1.0.0')).publishers).toEqual([id0])
})
