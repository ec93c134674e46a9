import { expect, test } from 'vitest'
import { silentLogger } from '../../../src/core/logger.js'
import type { NodeId } from '../../../src/core/ids.js'
import { rootHash, type SignedRoot } from '../../../src/identity/fleet-root.js'
import { RootSession } from '../../../src/mesh/root-session.js'
import { MemoryNetwork } from '../../../src/net/memory-network.js'
import { fleetOf, firstRoot, idsOf, nextRoot } from '../../support/fleet-roots.js'
import { keyPairOf } from '../record/fixtures.js'
import { virtualMesh, type RecordNode, type VirtualMesh } from '../record/mesh.js'

const first = await firstRoot()
const fleet = fleetOf(first)
const [id1, id2] = (await idsOf(1, 2)) as [NodeId, NodeId]
const second = await nextRoot(first, { operators: [id1] })
const third = await nextRoot(second, { operators: [id1, id2] })

async function start(mesh: VirtualMesh, number: number, roots: SignedRoot[] = [first]): Promise<RecordNode> {
  const node = await mesh.node(number, { fleet: { ...fleet, roots } })
  await mesh.environment.clock.run(node.start())
  return node
}

async function sessionIn(mesh: VirtualMesh): Promise<RootSession> {
  const network = new MemoryNetwork({ nodeId: (await keyPairOf(9)).nodeId, hub: mesh.hub })
  network.start()
  const { clock } = mesh.environment
  return new RootSession({ network, clock, logger: silentLogger, fleetId: fleet.fleetId })
}

const addressOf = ({ network }: RecordNode): string => network.addresses()[0] ?? ''
const hashes = (chain: readonly SignedRoot[]): string[] => chain.map(rootHash)

test('[TICKET-14] the newest root of those reached is found before a change is drafted', async () => {
  const mesh = virtualMesh(1, { maxLinks: 0 })
  const nodes = [await start(mesh, 0), await start(mesh, 1, [first, second])]
  const session = await sessionIn(mesh)
  const { clock } = mesh.environment
  const peers = await clock.run(session.reach(nodes.map(addressOf), { discovery: false }))
  expect([...peers].sort()).toEqual(nodes.map(({ network }) => network.nodeId).sort())
  expect(hashes(await clock.run(session.gather([first])))).toEqual(hashes([first, second]))
  expect(hashes(await clock.run(session.gather([first, second, third])))).toEqual(hashes([first, second, third]))
})

test('[TICKET-14] a delivery is confirmed by each node that goes by the root, and by no other', async () => {
  const mesh = virtualMesh(2, { maxLinks: 0 })
  const nodes = [await start(mesh, 0), await start(mesh, 1)]
  // Another root of the same version, with the lower hash: it stays in force where it is known.
  const rivals = await Promise.all([1, 2, 3, 4, 5, 6].map((issuedAt) => nextRoot(first, { issuedAt })))
  const [lowest, highest] = [...rivals]
    .sort((a, b) => (rootHash(a) < rootHash(b) ? -1 : 1))
    .filter((_, at) => at % 5 === 0)
  const stubborn = await start(mesh, 2, [first, lowest ?? second])
  const session = await sessionIn(mesh)
  const { clock } = mesh.environment
  await clock.run(session.reach([...nodes, stubborn].map(addressOf), { discovery: false }))
  const confirmed = await clock.run(session.deliver([first, highest ?? second]))
  expect([...confirmed].sort()).toEqual(nodes.map(({ network }) => network.nodeId).sort())
  expect(stubborn.root?.current?.root.issuedAt).toBe(lowest?.root.issuedAt)
})

test('[TICKET-14] where nobody answers the search ends by itself', async () => {
  const mesh = virtualMesh(3, { maxLinks: 0 })
  const session = await sessionIn(mesh)
  const { clock } = mesh.environment
  for (const discovery of [true, false]) {
    expect(await clock.run(session.reach(['/memory/nobody'], { discovery }), 10_000)).toEqual([])
  }
  expect(await clock.run(session.deliver([first]))).toEqual([])
})
