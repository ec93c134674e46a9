import { isDeepStrictEqual } from 'node:util'
import { expect, test } from 'vitest'
import { MurmurateError } from '../../../src/core/errors.js'
import { capable, nodes } from '../../../src/models/scope.js'
import type { Phase } from '../../../src/rollout/status.js'
import { model, RolloutFleet, type FleetNode } from '../../support/rollout-fleet.js'

const mb = 1024 * 1024

/** A publisher that is in no scope here, and a node that follows. */
async function pair(fleet: RolloutFleet, versions: readonly string[]): Promise<[FleetNode, FleetNode]> {
  const [publisher, node] = [await fleet.start(0), await fleet.start(1)]
  await fleet.publish(publisher, versions)
  return [publisher, node]
}

async function distribute(
  fleet: RolloutFleet,
  from: FleetNode,
  to: FleetNode,
  version: string
): ReturnType<FleetNode['distribution']['distributeModel']> {
  const scope = nodes([to.record.keyPair.nodeId])
  return fleet.clock.run(from.distribution.distributeModel(model, version, scope))
}

const runs = (node: FleetNode, version: string): (() => boolean) => {
  return () => node.status.phase === 'operational' && node.status.current?.version === version
}

test('[ROLL-15] a cancel during the download keeps what runs', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet, ['1.0.0', '2.0.0'])
  await distribute(fleet, publisher, node, '1.0.0')
  await fleet.until('1.0.0 runs', runs(node, '1.0.0'))
  node.blobs.fetchMs = 600_000
  const handle = await distribute(fleet, publisher, node, '2.0.0')
  await fleet.until('it downloads', () => node.status.phase === 'downloading')

  await fleet.clock.run(publisher.distribution.cancel(handle))
  await fleet.until('it runs 1.0.0 as if nothing had been', runs(node, '1.0.0'))
  await fleet.clock.advance(700_000)
  expect(node.blobs.active).toBe(0)
  expect(node.runtime.served).toBe('1.0.0')
  expect(node.status.target).toBeNull()
  expect(publisher.distribution.convergenceStatus(model, '2.0.0')).toMatchObject({ state: 'cancelled', converged: 0 })
  // The version that everybody runs is not held against the rollout that brought it.
  expect(publisher.distribution.convergenceStatus(model, '1.0.0')).toMatchObject({ converged: 1, superseded: 0 })
})

test('[ROLL-15] a node that has finished is not turned back by a cancel', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet, ['1.0.0'])
  const handle = await distribute(fleet, publisher, node, '1.0.0')
  await fleet.until('1.0.0 runs', runs(node, '1.0.0'))
  await fleet.clock.run(publisher.distribution.cancel(handle))
  await fleet.clock.advance(10_000)
  expect(runs(node, '1.0.0')()).toBe(true)
  expect(publisher.distribution.convergenceStatus(model, '1.0.0')).toMatchObject({ state: 'cancelled', converged: 1 })
})

test('[ROLL-15] a later rollout stops the download of the one before', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet, ['1.0.0', '2.0.0'])
  node.blobs.fetchMs = 600_000
  await distribute(fleet, publisher, node, '1.0.0')
  await fleet.until('it downloads', () => node.status.phase === 'downloading')
  node.blobs.fetchMs = 100
  await distribute(fleet, publisher, node, '2.0.0')
  await fleet.until('2.0.0 runs', runs(node, '2.0.0'), 10_000)
  expect(node.runtime.calls).not.toContain('load 1.0.0')
  expect(publisher.distribution.convergenceStatus(model, '1.0.0')).toMatchObject({ superseded: 1, totalPlatforms: 1 })
})

test('[ROLL-15] a later rollout that comes while the node still looks at the one before is not overlooked', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet, ['1.0.0', '2.0.0'])
  const question = Promise.withResolvers<number>()
  let asked = 0
  node.blobs.availableBytes = () => (asked++ === 0 ? question.promise : Promise.resolve(1024 * mb))
  node.blobs.fetchMs = 600_000
  await distribute(fleet, publisher, node, '1.0.0')
  await fleet.until('it asks how much space there is', () => asked === 1)
  await distribute(fleet, publisher, node, '2.0.0')
  await fleet.clock.advance(1000)
  question.resolve(1024 * mb)
  await fleet.until('it goes for 2.0.0', () => node.status.phase === 'downloading')
  expect(node.status.target?.version).toBe('2.0.0')
})

test('[ROLL-16] too little space blocks with the numbers, keeps its since, and goes on by itself when space returns', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet, [])
  await fleet.publish(publisher, ['1.0.0'], { files: [{ path: `model:${64 * mb}` }] })
  node.blobs.available = 10 * mb
  await distribute(fleet, publisher, node, '1.0.0')
  await fleet.until('it is blocked', () => node.status.blocker !== undefined)
  const first = node.status.blocker
  expect(first).toMatchObject({ reason: 'insufficientStorage', required: 64, available: 10, unit: 'MiB' })
  let entries = 0
  node.tracker.onChange(() => (entries += 1))
  await fleet.clock.advance(120_000)
  expect(node.status.blocker).toEqual(first)
  expect(entries).toBe(0)
  node.blobs.available = 100 * mb
  await fleet.until('it runs', runs(node, '1.0.0'), 35_000)
  expect(node.status.blocker).toBeUndefined()
})

test('[ROLL-16] a transfer that the disk refuses is tried again, and the blocker keeps its since', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet, ['1.0.0'])
  const details = { requiredBytes: 5000, availableBytes: 4000 }
  node.blobs.failure = new MurmurateError('INSUFFICIENT_STORAGE', '5000 bytes are needed', { details })
  const sinces = new Set<number | undefined>()
  node.tracker.onChange(() => {
    if (node.status.blocker?.reason === 'insufficientStorage') sinces.add(node.status.blocker.since)
  })
  await distribute(fleet, publisher, node, '1.0.0')
  await fleet.until('it was tried five times', () => node.status.attempt === 5)
  node.blobs.failure = undefined
  await fleet.until('it runs', runs(node, '1.0.0'))
  expect(sinces.size).toBeGreaterThan(0)
  expect(sinces.size).toBeLessThan(3)
})

test('[ROLL-16] an application that says "not now" makes its node busy; it is asked again without fetching again', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet, ['1.0.0'])
  node.runtime.isReady = false
  await distribute(fleet, publisher, node, '1.0.0')
  await fleet.until('it is busy', () => node.status.blocker !== undefined)
  const first = node.status.blocker
  expect(first?.reason).toBe('nodeBusy')
  let entries = 0
  node.tracker.onChange(() => (entries += 1))
  await fleet.clock.advance(120_000)
  expect([node.status.phase, node.status.blocker, entries]).toEqual(['staged', first, 0])
  expect(node.blobs.fetched).toHaveLength(1)
  expect(node.runtime.calls).toEqual([])
  node.runtime.isReady = true
  await fleet.until('it runs', runs(node, '1.0.0'), 35_000)
})

test('[ROLL-6] what no step expects is shown as unknown, with its message, and tried again', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet, ['1.0.0'])
  node.runtime.readyFails = true
  await distribute(fleet, publisher, node, '1.0.0')
  await fleet.until('it says so', () => node.status.blocker !== undefined)
  expect(node.blocker).toBe('unknown: the database of opening hours is gone')
  node.runtime.readyFails = false
  await fleet.until('it runs', runs(node, '1.0.0'), 35_000)
  expect(node.blocker).toBeUndefined()
})

test('[ROLL-6] a transfer in which nothing comes in says why', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet, ['1.0.0'])
  node.blobs.stalledBecause = 'no peer that may be asked is connected'
  await distribute(fleet, publisher, node, '1.0.0')
  await fleet.until('it says so', () => node.status.blocker !== undefined)
  expect(node.blocker).toBe('transferFailed: no peer that may be asked is connected')
})

test('[ROLL-17] a lower version is refused unless the rollout allows it or is a rollback', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet, ['1.0.0', '2.0.0'])
  await distribute(fleet, publisher, node, '2.0.0')
  await fleet.until('2.0.0 runs', runs(node, '2.0.0'))

  await distribute(fleet, publisher, node, '1.0.0')
  await fleet.until('it refuses', () => node.status.blocker !== undefined)
  expect(node.blocker).toMatch(/^deploymentFailed: 1\.0\.0 is older than 2\.0\.0, which runs here/)
  expect(node.runtime.served).toBe('2.0.0')
  await fleet.clock.advance(500)
  expect(publisher.distribution.convergenceStatus(model, '1.0.0')).toMatchObject({ failed: 1, state: 'complete' })
  expect(publisher.distribution.nodeModelStatus(model, 'node-1')).toMatchObject({ operationalStatus: 'operational' })

  const scope = nodes([node.record.keyPair.nodeId])
  await fleet.clock.run(publisher.distribution.rollback(model, '1.0.0', scope))
  await fleet.until('a rollback is obeyed', runs(node, '1.0.0'))
  await distribute(fleet, publisher, node, '2.0.0')
  await fleet.until('2.0.0 runs again', runs(node, '2.0.0'))
  const options = { allowDowngrade: true }
  await fleet.clock.run(publisher.distribution.distributeModel(model, '1.0.0', scope, 'normal', options))
  await fleet.until('a downgrade that is allowed is obeyed', runs(node, '1.0.0'))
})

test('[ROLL-6] a node that no variant fits says why of each, with the numbers of the closest', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet, [])
  await fleet.clock.run(
    publisher.registry.publish(model, '1.0.0', [
      { id: 'arm', files: [{ path: 'a:1' }], requirements: { cpuArch: ['aarch64'] } },
      { id: 'gpu', files: [{ path: 'b:1' }], requirements: { gpuMemoryMb: 8192 } }
    ])
  )
  await distribute(fleet, publisher, node, '1.0.0')
  await fleet.until('it says why', () => node.status.blocker !== undefined)
  expect(node.status.blocker).toMatchObject({
    reason: 'insufficientGpuMemory',
    required: 8192,
    available: 0,
    unit: 'MiB'
  })
  expect(node.blocker).toContain('arm needs aarch64, the node has x86_64')
})

test('[ROLL-18] stopping during each phase ends everything that runs, and the next start goes on from there', async () => {
  const phases: readonly Phase[] = ['downloading', 'loading', 'verifying', 'operational']
  for (const phase of phases) {
    const fleet = new RolloutFleet()
    const [publisher, node] = await pair(fleet, ['1.0.0'])
    node.blobs.fetchMs = 60_000
    node.runtime.callMs = 20_000
    await distribute(fleet, publisher, node, '1.0.0')
    await fleet.until(`it is ${phase}`, () => node.status.phase === phase)
    const before = fleet.clock.monotonic()
    const again = await fleet.restart(node, {}, () => {
      expect(fleet.clock.monotonic() - before).toBeLessThan(1000)
      expect([phase, node.blobs.active, node.runtime.active]).toEqual([phase, 0, 0])
    })
    const calls = node.runtime.calls.length
    again.blobs.fetchMs = 100
    await fleet.until('the restarted node runs it', () => again.runtime.served === '1.0.0' && runs(again, '1.0.0')())
    expect(node.runtime.calls).toHaveLength(calls)
    await fleet.clock.run(again.stop())
    await fleet.clock.run(publisher.stop())
    await fleet.clock.advance(120_000)
    expect(fleet.clock.pending).toBe(0)
  }
})

test('[ROLL-18] stopping while nothing is asked, and twice, does no harm', async () => {
  const fleet = new RolloutFleet()
  const node = await fleet.start(0)
  await fleet.clock.run(node.stop())
  await fleet.clock.run(node.stop())
})

test('[FLEET-50] a node whose capabilities change while a rollout is under way is in it, or in it no more, at once', async () => {
  const fleet = new RolloutFleet()
  const publisher = await fleet.start(0)
  const node = await fleet.start(1, { capabilities: { storageMb: 100 } })
  await fleet.publish(publisher, ['1.0.0'])
  const scope = capable({ minStorageMb: 1000 })
  await fleet.clock.run(publisher.distribution.distributeModel(model, '1.0.0', scope))
  await fleet.clock.advance(60_000)
  const total = (): number => publisher.distribution.convergenceStatus(model, '1.0.0').totalPlatforms
  expect([total(), node.status.phase]).toEqual([0, 'notDeployed'])
  const { description } = node.membership
  const capabilities = { ...description.capabilities, storageMb: 2000 }
  await fleet.clock.run(node.membership.describe({ ...description, capabilities }))
  await fleet.until('1.0.0 runs', runs(node, '1.0.0'))
  expect(total()).toBe(1)
})

test('[FLEET-41] no verdict counts a node that was forgotten', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet, ['1.0.0'])
  await distribute(fleet, publisher, node, '1.0.0')
  await fleet.until('1.0.0 runs', runs(node, '1.0.0'))
  const verdict = (): unknown => {
    const { totalPlatforms, state } = publisher.distribution.convergenceStatus(model, '1.0.0')
    return [totalPlatforms, state]
  }
  await fleet.until('the publisher knows', () => isDeepStrictEqual(verdict(), [1, 'complete']))
  await fleet.clock.run(node.stop())
  await fleet.clock.advance(1000)
  await fleet.clock.run(publisher.membership.forget(node.record.keyPair.nodeId))
  expect(verdict()).toEqual([0, 'empty'])
})
