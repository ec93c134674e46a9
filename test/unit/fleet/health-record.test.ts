import { expect, test } from 'vitest'
import { HealthMonitor, type HealthMonitorComponents } from '../../../src/fleet/health-monitor.js'
import { conductIn } from '../../../src/fleet/record-conduct.js'
import { Vitals, type Gauges } from '../../../src/fleet/vitals.js'
import type { RootFork } from '../../../src/identity/root-chain.js'
import { writeUpdate } from '../../../src/record/yjs-update.js'
import { chainOf, updateOf } from '../record/fixtures.js'
import { HostilePeer } from '../record/hostile.js'
import { virtualMesh, type VirtualMesh } from '../record/mesh.js'
import { start, type Box } from './boxes.js'

const gauges: Gauges = {
  start: () => {},
  stop: () => {},
  eventLoopP99Ms: () => 1,
  resetEventLoop: () => {},
  cpuTimes: () => ({ busyMs: 0, totalMs: 0 }),
  processBytes: () => 1,
  loadPerCore: () => 0,
  freeDiskBytes: () => Promise.resolve(undefined)
}

/** Node 0, which judges by its own document. */
async function monitored(
  mesh: VirtualMesh,
  root?: HealthMonitorComponents['root']
): Promise<{ readonly box: Box; readonly monitor: HealthMonitor }> {
  const box = await start(mesh, 0)
  const { clock } = mesh.environment
  const conduct: HealthMonitorComponents['conduct'] = () => conductIn(box.record.document)
  const pulses = { loads: () => new Map<never, never>() }
  const vitals = new Vitals(gauges, clock)
  const monitor = new HealthMonitor({ membership: box.membership, pulses, vitals, clock, conduct, root })
  return { box, monitor }
}

test('[FLEET-65] what the record saw a node do wrong shows in its health: refusals of the sender, evidence of the writer', async () => {
  const mesh = virtualMesh(1)
  const { box, monitor } = await monitored(mesh)
  const writer = await start(mesh, 1)
  const hostile = await HostilePeer.join(mesh)
  await hostile.gossip(updateOf(writer.record.keyPair, { seq: 3, body: { text: 'one' } }))
  await hostile.gossip(updateOf(writer.record.keyPair, { seq: 3, body: { text: 'two' } }))
  const forged = { ...chainOf(writer.record.keyPair), value: chainOf(hostile.keyPair, { seq: 9 }).value }
  await hostile.gossip(writeUpdate([{ ...forged, seq: 9 }]))
  await hostile.gossipBytes(new Uint8Array([1, 2, 3]))
  expect(conductIn(box.record.document)).toEqual([
    { peer: hostile.keyPair.nodeId, refusals: 2, equivocations: 0 },
    { peer: writer.record.keyPair.nodeId, refusals: 0, equivocations: 1 }
  ])
  const { nodes } = await monitor.health()
  expect(nodes.find(({ nodeId }) => nodeId === writer.record.keyPair.nodeId)).toMatchObject({
    status: 'degraded',
    equivocations: 1
  })
})

test('[FLEET-66] forks and expiry of the fleet root are figures, and reasons in the own health alone', async () => {
  const mesh = virtualMesh(1)
  const root = { forks: [{}, {}] as unknown as readonly RootFork[], isExpired: true }
  const { box, monitor } = await monitored(mesh, root)
  await start(mesh, 1)
  const { nodes, root: figures } = await monitor.health()
  expect(figures).toEqual({ forks: 2, isExpired: true })
  const statuses = new Map(nodes.map(({ nodeId, status, reasons }) => [nodeId, [status, reasons.length]]))
  expect(statuses.get(box.record.keyPair.nodeId)).toEqual(['degraded', 2])
  expect([...statuses.values()].filter(([status]) => status === 'healthy')).toHaveLength(1)
})
