import { expect, inject, test } from 'vitest'
import { parsePageId } from '../../src/core/ids.js'
import { noteKind } from '../unit/record/fixtures.js'
import { agree, virtualMesh, type RecordNode, type VirtualMesh } from '../unit/record/mesh.js'

const nodeCount = 30
const seeds = Array.from({ length: inject('seeds') }, (_, index) => index + 1)

/** A minute of writes under loss, while random halves of the mesh are cut apart and nodes come and go. */
async function storm(mesh: VirtualMesh, nodes: RecordNode[]): Promise<void> {
  const { clock, random } = mesh.environment
  const one = (): RecordNode => nodes[Math.floor(random.float() * nodes.length)] ?? expect.unreachable()
  for (let second = 0; second < 60; second++) {
    for (let writes = 0; writes < 5; writes++) {
      const text = `${second} ${writes}`
      void one().document.write(noteKind, parsePageId(`note/${writes}`), { text })
    }
    if (second % 20 === 5) for (const node of nodes) if (random.float() < 0.3) mesh.hub.isolate(node.keyPair.nodeId)
    if (second % 20 === 10) cutInHalves(mesh, nodes)
    if (second % 20 === 18) heal(mesh, nodes)
    await clock.advance(1000)
  }
  heal(mesh, nodes)
}

function cutInHalves(mesh: VirtualMesh, nodes: readonly RecordNode[]): void {
  for (const [at, one] of nodes.entries()) {
    for (const other of nodes.slice(at + 1)) {
      if (one.number % 2 !== other.number % 2) mesh.hub.cut(one.keyPair.nodeId, other.keyPair.nodeId)
    }
  }
}

function heal(mesh: VirtualMesh, nodes: readonly RecordNode[]): void {
  for (const [at, one] of nodes.entries()) {
    mesh.hub.heal(one.keyPair.nodeId)
    for (const other of nodes.slice(at + 1)) mesh.hub.heal(one.keyPair.nodeId, other.keyPair.nodeId)
  }
}

test.each(seeds)('[REC-47] 30 nodes agree after a minute of loss and partitions, seed %i', async (seed) => {
  const mesh = virtualMesh(seed, { gossipLoss: 0.25, gossipDuplication: 0.1, latencyMs: [1, 100], maxLinks: 6 })
  const { clock } = mesh.environment
  const nodes = await Promise.all(Array.from({ length: nodeCount }, (_, number) => mesh.node(number)))
  for (const node of nodes) await node.start()
  await clock.advance(1000)
  await storm(mesh, nodes)
  let rounds = 0
  while (!agree(nodes) && rounds < 8) {
    await clock.advance(15_000)
    rounds += 1
  }
  const digests = new Set(nodes.map(({ document }) => document.digest()))
  expect(digests.size, `seed ${seed}: run it alone with -t "seed ${seed}"`).toBe(1)
  expect(Array.from(nodes[0]?.document.all(noteKind) ?? []).length).toBeGreaterThan(100)
  for (const node of nodes) await clock.run(node.stop())
})
