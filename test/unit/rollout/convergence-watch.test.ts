import { expect, test } from 'vitest'
import { errorCode } from '../../../src/core/errors.js'
import { nodes } from '../../../src/models/scope.js'
import type { ModelConvergenceStatus } from '../../../src/rollout/convergence.js'
import { figures, model, RolloutFleet, type FleetNode } from '../../support/rollout-fleet.js'

type Verdicts = AsyncGenerator<ModelConvergenceStatus>

/** Collects what a subscription hands out until it ends. */
async function collect(verdicts: Verdicts, into: ModelConvergenceStatus[]): Promise<void> {
  for await (const verdict of verdicts) into.push(verdict)
}

async function pair(fleet: RolloutFleet): Promise<[FleetNode, FleetNode]> {
  const [publisher, node] = [await fleet.start(0), await fleet.start(1)]
  await fleet.publish(publisher, ['1.0.0'])
  return [publisher, node]
}

test('[ROLL-8] a subscription begins with the present verdict, tells each change once, and ends when the rollout is complete', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet)
  node.blobs.fetchMs = 4000
  await fleet.clock.run(publisher.distribution.distributeModel(model, '1.0.0'))
  const seen: ModelConvergenceStatus[] = []
  const before = fleet.clock.monotonic()
  await fleet.clock.run(collect(publisher.distribution.subscribeConvergence(model, '1.0.0'), seen))

  const texts = seen.map((verdict) => JSON.stringify({ ...verdict, asOf: undefined }))
  expect(texts.filter((text, at) => text === texts[at - 1])).toEqual([])
  expect(seen[0]).toMatchObject({ state: 'running', totalPlatforms: 2 })
  expect(seen.some(({ inProgress }) => inProgress === 1)).toBe(true)
  expect(seen.at(-1)).toMatchObject({ state: 'complete', converged: 2 })
  const duration = fleet.clock.monotonic() - before
  expect(seen.length).toBeLessThanOrEqual(1 + duration / figures.coalesceMs)
})

test('[ROLL-8] whoever watches hears how fast it goes and when it will be done', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet)
  node.blobs.fetchMs = 8000
  const seen: ModelConvergenceStatus[] = []
  const watching = collect(publisher.distribution.subscribeConvergence(model, '1.0.0', { wait: true }), seen)
  await fleet.clock.advance(1000)
  await fleet.clock.run(publisher.distribution.distributeModel(model, '1.0.0'))
  await fleet.clock.run(watching)
  const estimates = seen.flatMap(({ estimatedCompletion }) => estimatedCompletion ?? [])
  // A quarter of the bytes every two seconds: at the second pulse a half is left... and less later.
  expect(estimates[0]).toBeGreaterThan(5000)
  expect(estimates[0]).toBeLessThan(7000)
  expect(seen.at(-1)?.estimatedCompletion).toBeUndefined()
})

test('[ROLL-8] with follow it goes on after completion, until it is returned', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet)
  await fleet.clock.run(publisher.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('all run it', () => node.status.phase === 'operational')
  await fleet.clock.advance(1000)
  const verdicts = publisher.distribution.subscribeConvergence(model, '1.0.0', { follow: true })
  expect(await fleet.clock.run(verdicts.next())).toMatchObject({ value: { state: 'complete' } })
  const next = verdicts.next()
  await fleet.clock.run(node.stop())
  expect(await fleet.clock.run(next)).toMatchObject({ value: { offline: 1 } })
  await fleet.clock.run(verdicts.return(undefined))
  expect(await verdicts.next()).toEqual({ value: undefined, done: true })
})

test('[ROLL-8] what does not change the verdict is not told', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet)
  await fleet.clock.run(publisher.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('all run it', () => node.status.phase === 'operational')
  await fleet.clock.advance(1000)
  const seen: ModelConvergenceStatus[] = []
  const controller = new AbortController()
  const options = { follow: true, signal: controller.signal }
  const watching = collect(publisher.distribution.subscribeConvergence(model, '1.0.0', options), seen).catch(errorCode)
  await fleet.clock.advance(1000)
  const { name, capabilities, formations, software } = node.membership.self
  for (const shelf of ['1', '2', '3']) {
    const description = { name, capabilities, formations, software, labels: { shelf } }
    await fleet.clock.run(node.membership.describe(description))
    await fleet.clock.advance(1000)
  }
  controller.abort()
  expect(await fleet.clock.run(watching)).toBe('ABORTED')
  expect(seen).toHaveLength(1)
})

test('[ROLL-8] returning a subscription leaves no timer behind', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet)
  await fleet.clock.run(publisher.distribution.distributeModel(model, '1.0.0'))
  await fleet.clock.run(node.stop())
  const verdicts = publisher.distribution.subscribeConvergence(model, '1.0.0', { follow: true })
  await fleet.clock.run(verdicts.next())
  // While it waits for the next verdict, it also waits for the moment at which the node counts as cut off.
  const next = verdicts.next()
  const third = await fleet.start(2)
  await fleet.clock.run(next)
  await fleet.clock.run(verdicts.return(undefined))
  await fleet.clock.advance(5000)
  const { pending } = fleet.clock
  await fleet.clock.advance(figures.offlineAfterMs)
  expect(fleet.clock.pending).toBe(pending)
  await fleet.clock.run(Promise.all([publisher.stop(), third.stop()]))
  await fleet.clock.advance(120_000)
  expect(fleet.clock.pending).toBe(0)
})

test('[ROLL-8] an abort ends a subscription with ABORTED', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet)
  node.blobs.fetchMs = 600_000
  await fleet.clock.run(publisher.distribution.distributeModel(model, '1.0.0'))
  await fleet.clock.advance(5000)
  const controller = new AbortController()
  const verdicts = publisher.distribution.subscribeConvergence(model, '1.0.0', { signal: controller.signal })
  const ended = collect(verdicts, []).catch(errorCode)
  await fleet.clock.advance(1000)
  controller.abort()
  expect(await fleet.clock.run(ended, 1000)).toBe('ABORTED')
  const late = publisher.distribution.subscribeConvergence(model, '1.0.0', { signal: controller.signal })
  expect(await late.next().catch(errorCode)).toBe('ABORTED')
})

test('[ROLL-7] a node that goes away becomes a network partition in time, without any other event', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = await pair(fleet)
  node.blobs.fetchMs = 600_000
  const scope = nodes([node.record.keyPair.nodeId])
  await fleet.clock.run(publisher.distribution.distributeModel(model, '1.0.0', scope))
  await fleet.until('it downloads', () => node.status.phase === 'downloading')
  await fleet.clock.advance(500)
  await fleet.clock.run(node.stop())
  const goneAt = fleet.clock.now()
  const seen: ModelConvergenceStatus[] = []
  const before = fleet.clock.monotonic()
  // The subscription ends by itself: nothing is left to wait for but the network.
  await fleet.clock.run(collect(publisher.distribution.subscribeConvergence(model, '1.0.0'), seen))
  const last = seen.at(-1)
  expect(fleet.clock.monotonic() - before).toBeLessThan(figures.offlineAfterMs + 1000)
  expect(last).toMatchObject({ offline: 1, inProgress: 1, converged: 0, state: 'complete' })
  expect(last?.blockers).toMatchObject([{ reason: 'networkPartition', nodeId: node.record.keyPair.nodeId }])
  expect(Math.abs((last?.blockers[0]?.since ?? 0) - goneAt)).toBeLessThan(1000)
})

test('[ROLL-8] a subscription of a node that is stopped fails instead of waiting for ever', async () => {
  const fleet = new RolloutFleet()
  const [publisher] = await pair(fleet)
  const seen: ModelConvergenceStatus[] = []
  const watching = collect(publisher.distribution.subscribeConvergence(model, '1.0.0', { wait: true }), seen)
  const failure = watching.then(undefined, errorCode)
  await fleet.clock.advance(1000)
  await fleet.clock.run(publisher.stop())
  expect(await fleet.clock.run(failure)).toBe('NOT_STARTED')
  expect(seen).toEqual([])
})
