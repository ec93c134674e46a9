import { expect, test } from 'vitest'
import { errorCode, messageOf } from '../../../src/core/errors.js'
import { all, formation, nodes, type DistributionScope } from '../../../src/models/scope.js'
import { isComplete } from '../../../src/rollout/convergence.js'
import { model, RolloutFleet, version } from '../../support/rollout-fleet.js'

test('[ROLL-3] any node reads the same verdict, handles and statuses as the one that ordered', async () => {
  const fleet = new RolloutFleet()
  const [one, two] = [await fleet.start(0), await fleet.start(1)]
  await fleet.publish(one, ['1.0.0'])
  const handle = await fleet.clock.run(one.distribution.distributeModel(model, '1.0.0', all(), 'high'))
  await fleet.until('all run it', () => isComplete(one.distribution.convergenceStatus(model, '1.0.0')))
  await fleet.clock.advance(1000)
  expect(two.distribution.convergenceStatus(model, '1.0.0')).toEqual(one.distribution.convergenceStatus(model, '1.0.0'))
  expect(two.distribution.handle(handle.distributionHandle.distributionId)).toEqual(handle)
  expect(two.distribution.rollouts(model)).toEqual([handle])
  expect(handle).toMatchObject({ version: '1.0.0', distributionHandle: { priority: 'high', scope: { kind: 'all' } } })
  expect('variantId' in handle).toBe(false)
  expect(one.distribution.nodesWithVersion(model, '1.0.0')).toEqual(two.distribution.nodesWithVersion(model, '1.0.0'))
  expect(two.distribution.nodesWithVersion(model, '1.0.0').map(({ operationalStatus }) => operationalStatus)).toEqual([
    'operational',
    'operational'
  ])
  expect(one.distribution.nodesWithVersion(model, '2.0.0')).toEqual([])
})

test('[ROLL-15] any node can cancel what another ordered; the others hear of it', async () => {
  const fleet = new RolloutFleet()
  const [one, two] = [await fleet.start(0), await fleet.start(1)]
  await fleet.publish(one, ['1.0.0'])
  two.blobs.fetchMs = 600_000
  const handle = await fleet.clock.run(one.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('it downloads', () => two.status.phase === 'downloading')
  await fleet.clock.run(two.distribution.cancel(handle))
  await fleet.until('it is cancelled', () => one.distribution.convergenceStatus(model, '1.0.0').state === 'cancelled')
  await fleet.until('it has stopped', () => two.status.phase === 'notDeployed')
  // The entry of the one that ordered is as it was: the handle can still be read.
  expect(one.distribution.handle(handle.distributionHandle.distributionId)).toEqual(handle)
  const again = await fleet.restart(two)
  await fleet.clock.advance(10_000)
  expect(again.runtime.calls).toEqual([])
})

test('[ROLL-4] the rollouts of a model are listed as they count, and of two that were ordered at once the second counts', async () => {
  const fleet = new RolloutFleet()
  const one = await fleet.start(0)
  await fleet.publish(one, ['1.0.0', '2.0.0', '3.0.0'])
  const orders = ['1.0.0', '2.0.0', '3.0.0'].map((each) => one.distribution.distributeModel(model, each))
  await fleet.clock.run(Promise.all(orders))
  expect(one.distribution.rollouts(model).map((handle) => handle.version)).toEqual(['3.0.0', '2.0.0', '1.0.0'])
  await fleet.until('the last runs', () => one.status.current?.version === '3.0.0')
})

test('[ROLL-1] members outside the scope do nothing and are not counted', async () => {
  const fleet = new RolloutFleet()
  const [one, two] = [await fleet.start(0), await fleet.start(1, { formations: ['north'] })]
  await fleet.publish(one, ['1.0.0'])
  await fleet.clock.run(one.distribution.distributeModel(model, '1.0.0', formation('north')))
  await fleet.until('the north runs it', () => two.status.phase === 'operational')
  await fleet.clock.advance(1000)
  expect(one.runtime.calls).toEqual([])
  expect(one.distribution.convergenceStatus(model, '1.0.0')).toMatchObject({
    totalPlatforms: 1,
    converged: 1,
    excluded: 1
  })
})

test('[MODEL-8] what cannot be ordered is refused, and nothing is written', async () => {
  const fleet = new RolloutFleet()
  const one = await fleet.start(0)
  await fleet.publish(one, ['1.0.0'])
  const { distribution } = one
  const refused = (order: Promise<unknown>): Promise<string> =>
    fleet.clock.run(
      order.then(
        () => 'ordered',
        (error: unknown) => `${errorCode(error)}: ${messageOf(error)}`
      )
    )
  const wrong = { kind: 'everyone' } as unknown as DistributionScope
  expect(await refused(distribution.distributeModel(model, '2.0.0'))).toMatch(
    /^MODEL_NOT_FOUND: .*known versions: 1\.0\.0/
  )
  expect(await refused(distribution.distributeModel('no/model', '1.0.0'))).toMatch(/^INVALID_REQUEST: .*model id/)
  expect(await refused(distribution.distributeModel(model, '1'))).toMatch(/^INVALID_REQUEST: .*version/)
  expect(await refused(distribution.distributeModel(model, '1.0.0', wrong))).toMatch(/^INVALID_REQUEST: scope/)
  expect(await refused(distribution.distributeModel(model, '1.0.0', all(), 'urgent' as 'high'))).toMatch(
    /^INVALID_REQUEST/
  )
  expect(await refused(distribution.distributeModelVariant(model, '1.0.0', 'fp16'))).toMatch(
    /^MODEL_NOT_FOUND: .*it has any/
  )
  expect(await refused(distribution.distributeModelDelta(model, '0.1.0', '1.0.0'))).toMatch(/^MODEL_NOT_FOUND/)
  expect(distribution.rollouts(model)).toEqual([])
})

test('[ROLL-8] a subscription to what is not known fails, or waits when it is told to', async () => {
  const fleet = new RolloutFleet()
  const one = await fleet.start(0)
  await fleet.publish(one, ['1.0.0'])
  const impatient = one.distribution.subscribeConvergence(model, '1.0.0').next()
  expect(await fleet.clock.run(impatient.catch(errorCode))).toBe('MODEL_NOT_FOUND')
  const patient = one.distribution.subscribeConvergence(model, '1.0.0', { wait: true }).next()
  await fleet.clock.advance(5000)
  await fleet.clock.run(one.distribution.distributeModel(model, '1.0.0'))
  expect(await fleet.clock.run(patient)).toMatchObject({ value: { targetVersion: '1.0.0' } })
})

test('[ROLL-10] a delta names the version that it builds on; nodes without it get the whole (a16)', async () => {
  const fleet = new RolloutFleet()
  const [one, two] = [await fleet.start(0), await fleet.start(1)]
  await fleet.publish(one, ['1.0.0', '2.0.0'])
  const scope = nodes([two.record.keyPair.nodeId])
  await fleet.clock.run(one.distribution.distributeModelDelta(model, '1.0.0', '2.0.0', scope))
  await fleet.until('it runs', () => two.status.current?.version === version('2.0.0'))
  expect(one.tracker.rolloutsOf(model)[0]?.intent).toMatchObject({ base: '1.0.0', version: '2.0.0' })
})
