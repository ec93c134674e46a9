import { expect, test } from 'vitest'
import { HealthMonitor } from '../../../src/fleet/health-monitor.js'
import type { Conduct } from '../../../src/fleet/record-conduct.js'
import { healthSummary, nodeHealth, type HealthStatus, type Observation } from '../../../src/fleet/health.js'
import type { ObservedLoad } from '../../../src/fleet/load.js'
import { Uptime } from '../../../src/fleet/uptime.js'
import { systemGauges, Vitals, type Gauges } from '../../../src/fleet/vitals.js'
import { nodeIdOf } from '../../support/rollouts.js'
import { VirtualClock } from '../../support/virtual-clock.js'
import { virtualMesh, type VirtualMesh } from '../record/mesh.js'
import { start, stop, type Box } from './boxes.js'

const well: Observation = {
  nodeId: nodeIdOf(1),
  name: 'box',
  presence: 'alive',
  uptime: { ratio: 1, observedMs: 1e9 },
  refusals: 0,
  equivocations: 0,
  eventLoopMs: 5,
  freeDiskMb: 100_000,
  root: { forks: 0, isExpired: false }
}

test.each<[HealthStatus, Partial<Observation>]>([
  ['healthy', {}],
  ['healthy', { uptime: undefined, eventLoopMs: undefined, freeDiskMb: undefined }],
  ['healthy', { uptime: { ratio: 0.9, observedMs: 1e9 } }],
  ['healthy', { uptime: { ratio: 0.1, observedMs: 299_999 } }],
  ['healthy', { refusals: 9, eventLoopMs: 199, freeDiskMb: 1024 }],
  ['degraded', { presence: 'suspected' }],
  ['degraded', { uptime: { ratio: 0.89, observedMs: 300_000 } }],
  ['healthy', { root: undefined }],
  ['degraded', { root: { forks: 0, isExpired: true } }],
  ['degraded', { root: { forks: 1, isExpired: false } }],
  ['degraded', { refusals: 10 }],
  ['degraded', { equivocations: 1 }],
  ['degraded', { eventLoopMs: 200 }],
  ['degraded', { freeDiskMb: 1023 }],
  ['degraded', { freeDiskMb: 0 }],
  ['unhealthy', { presence: 'failed' }],
  ['unhealthy', { eventLoopMs: 2000 }],
  ['unhealthy', { presence: 'failed', equivocations: 3 }],
  ['unknown', { presence: 'unknown' }],
  ['unknown', { presence: 'unknown', refusals: 100 }]
])('[FLEET-51] a node is %s by the worst of what is observed: %j', (status, parts) => {
  const health = nodeHealth({ ...well, ...parts })
  expect(health.status).toBe(status)
  expect(health.reasons.length > 0).toBe(status !== 'healthy')
})

test('[FLEET-51] the counts add up, and no node is nobody’s success', () => {
  const nodes = (['alive', 'alive', 'suspected', 'failed', 'unknown'] as const).map((presence) =>
    nodeHealth({ ...well, presence })
  )
  expect(healthSummary(nodes)).toEqual({
    total: 5,
    healthy: 2,
    degraded: 1,
    unhealthy: 1,
    unknown: 1,
    percentage: 40
  })
  expect(healthSummary([])).toEqual({ total: 0, healthy: 0, degraded: 0, unhealthy: 0, unknown: 0, percentage: 0 })
})

test('[FLEET-51] the uptime ratio is that of the recent past, and one answer does not make up for an hour', () => {
  const uptime = new Uptime()
  const node = nodeIdOf(1)
  const minute = 60_000
  expect(uptime.figure(node, 0)).toBeUndefined()
  uptime.observe(node, true, 0)
  expect(uptime.figure(node, 0)).toBeUndefined()
  expect(uptime.figure(node, minute)).toEqual({ ratio: 1, observedMs: minute })
  uptime.observe(node, false, 60 * minute)
  uptime.observe(node, true, 61 * minute)
  expect(uptime.figure(node, 61 * minute)?.ratio).toBeCloseTo(0.974, 2)
  uptime.observe(node, false, 200 * minute)
  uptime.observe(node, true, 260 * minute)
  const ratioAt = (atMinute: number): number => uptime.figure(node, atMinute * minute)?.ratio ?? -1
  expect(ratioAt(260)).toBeLessThan(0.4)
  expect(ratioAt(270)).toBeLessThan(0.5)
  expect(ratioAt(260 + 6 * 60)).toBeGreaterThan(0.99)
  // The same, however often it is looked at.
  const other = new Uptime()
  other.observe(node, true, 0)
  other.observe(node, false, 30 * minute)
  const once = new Uptime()
  once.observe(node, true, 0)
  once.observe(node, false, 30 * minute)
  for (let at = 31; at <= 90; at++) other.figure(node, at * minute)
  expect(other.figure(node, 90 * minute)?.ratio).toBeCloseTo(once.figure(node, 90 * minute)?.ratio ?? -1, 10)
  uptime.remove(node)
  expect(uptime.figure(node, 1e9)).toBeUndefined()
})

/** Gauges that show what they are told. */
class FakeGauges implements Gauges {
  eventLoop: number | undefined = 2
  cpu = { busyMs: 0, totalMs: 0 }
  disk: number | undefined = 5 * 1024 ** 3
  resets = 0
  running = false

  start(): void {
    this.running = true
  }

  stop(): void {
    this.running = false
  }

  eventLoopP99Ms(): number | undefined {
    return this.eventLoop
  }

  resetEventLoop(): void {
    this.resets += 1
    this.eventLoop = undefined
  }

  cpuTimes(): { busyMs: number; totalMs: number } {
    return this.cpu
  }

  processBytes(): number {
    return 100.9 * 1024 ** 2
  }

  loadPerCore(): number | undefined {
    return 0.5
  }

  freeDiskBytes(): Promise<number | undefined> {
    return Promise.resolve(this.disk)
  }
}

test('[FLEET-52] own figures: unknown is not zero, and reading often changes nothing', async () => {
  const clock = new VirtualClock()
  const gauges = new FakeGauges()
  const vitals = new Vitals(gauges, clock)
  await vitals.start()
  expect(vitals.read()).toEqual({ memoryMb: 100, eventLoopMs: 2, loadPerCore: 0.5 })
  gauges.cpu = { busyMs: 300, totalMs: 1200 }
  await clock.advance(1000)
  expect(vitals.read().cpuPercent).toBe(25)
  gauges.cpu = { busyMs: 1300, totalMs: 2200 }
  await clock.advance(500)
  expect(vitals.read().cpuPercent).toBe(25)
  await clock.advance(500)
  expect(vitals.read().cpuPercent).toBe(100)
  await clock.advance(5000)
  expect(vitals.read().cpuPercent).toBeUndefined()
  expect(await vitals.freeDiskMb()).toBe(5120)
  gauges.disk = undefined
  expect(await vitals.freeDiskMb()).toBeUndefined()
  await vitals.stop()
  expect(gauges.running).toBe(false)
})

test('[FLEET-52] a late event loop shows for one to two minutes, whoever reads it and how often', async () => {
  const clock = new VirtualClock()
  const gauges = new FakeGauges()
  const vitals = new Vitals(gauges, clock)
  await vitals.start()
  gauges.eventLoop = 800
  const seen: (number | undefined)[] = []
  for (let second = 0; second < 180; second += 10) {
    await clock.advance(10_000)
    gauges.eventLoop ??= 3
    seen.push(vitals.read().eventLoopMs)
  }
  // The minute in which it was, and the one after.
  expect(seen.filter((value) => value === 800)).toHaveLength(12)
  expect(seen.at(-1)).toBe(3)
  expect(gauges.resets).toBe(3)
})

test('[FLEET-52] the gauges of this machine show something, and can be started again', async () => {
  const gauges = systemGauges('.')
  await gauges.stop()
  await gauges.start()
  expect(gauges.processBytes()).toBeGreaterThan(1024 ** 2)
  const { busyMs, totalMs } = gauges.cpuTimes()
  expect(totalMs).toBeGreaterThan(busyMs)
  expect(await gauges.freeDiskBytes()).toBeGreaterThan(0)
  expect(await systemGauges('/no/such/place').freeDiskBytes()).toBeUndefined()
  expect(gauges.loadPerCore()).toBeGreaterThanOrEqual(0)
  await gauges.stop()
  await gauges.stop()
  await gauges.start()
  await gauges.stop()
})

interface Monitored {
  readonly box: Box
  readonly monitor: HealthMonitor
  readonly gauges: FakeGauges
  readonly loads: Map<ObservedLoad['nodeId'], ObservedLoad>
  readonly conduct: Conduct[]
}

async function monitored(mesh: VirtualMesh, number: number): Promise<Monitored> {
  const box = await start(mesh, number)
  const gauges = new FakeGauges()
  const { clock } = mesh.environment
  const vitals = new Vitals(gauges, clock)
  await vitals.start()
  const loads: Monitored['loads'] = new Map()
  const conduct: Conduct[] = []
  const monitor = new HealthMonitor({
    membership: box.membership,
    pulses: { loads: () => loads },
    vitals,
    clock,
    conduct: () => conduct,
    root: undefined
  })
  monitor.start()
  return { box, monitor, gauges, loads, conduct }
}

test('[FLEET-51] the health of a fleet: each member once, by presence, load, conduct and own figures', async () => {
  const mesh = virtualMesh(1)
  const { monitor, gauges, loads, conduct, box } = await monitored(mesh, 0)
  const [two, three] = [await start(mesh, 1), await start(mesh, 2)]
  await mesh.environment.clock.advance(600_000)
  const before = await monitor.health()
  expect(before.summary).toMatchObject({ total: 3, healthy: 3, percentage: 100 })
  expect(before.own).toMatchObject({ memoryMb: 100, freeDiskMb: 5120 })
  expect(before.nodes.map(({ uptimeRatio }) => Math.round(100 * (uptimeRatio ?? 0)))).toEqual([100, 100, 100])

  const [idOne, idTwo] = [box.record.keyPair.nodeId, two.record.keyPair.nodeId]
  gauges.disk = 0
  loads.set(idTwo, { nodeId: idTwo, memoryMb: 1, transfers: 0, eventLoopMs: 5000 })
  conduct.push({ peer: idOne, refusals: 0, equivocations: 0 }, { peer: idTwo, refusals: 20, equivocations: 1 })
  await stop(mesh, three)
  await mesh.environment.clock.advance(1000)
  const { summary, nodes } = await monitor.health()
  expect(summary).toMatchObject({ total: 3, healthy: 0, degraded: 1, unhealthy: 2 })
  expect(nodes.find(({ nodeId }) => nodeId === idTwo)).toMatchObject({
    status: 'unhealthy',
    refusals: 20,
    equivocations: 1
  })
  expect(nodes.find(({ nodeId }) => nodeId === idTwo)?.reasons).toHaveLength(3)
  await mesh.environment.clock.advance(600_000)
  const gone = (await monitor.health()).nodes.find(({ nodeId }) => nodeId === three.record.keyPair.nodeId)
  expect(gone?.uptimeRatio).toBeLessThan(0.6)

  await mesh.environment.clock.run(box.membership.forget(three.record.keyPair.nodeId))
  expect((await monitor.health()).summary.total).toBe(2)
  monitor.stop()
  monitor.stop()
  expect((await monitor.health()).nodes.every(({ uptimeRatio }) => uptimeRatio === undefined)).toBe(true)
})

test('[FLEET-51] one that was never met is unknown, neither well nor ill', async () => {
  const mesh = virtualMesh(1)
  const one = await start(mesh, 0)
  const two = await start(mesh, 1)
  await mesh.environment.clock.advance(1000)
  await stop(mesh, two)
  const { monitor } = await monitored(mesh, 2)
  await mesh.environment.clock.advance(2000)
  expect((await monitor.health()).summary).toMatchObject({ total: 3, healthy: 2, unknown: 1, unhealthy: 0 })
  expect(one.membership.get(two.record.keyPair.nodeId)?.presence).toBe('failed')
})
