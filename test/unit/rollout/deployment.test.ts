import { expect, test } from 'vitest'
import { MurmurateError } from '../../../src/core/errors.js'
import { all } from '../../../src/models/scope.js'
import { model, RolloutFleet, version } from '../../support/rollout-fleet.js'

test('[ROLL-10] a first install loads the version, checks it, and only then counts as current', async () => {
  const fleet = new RolloutFleet()
  const node = await fleet.start(0)
  await fleet.publish(node, ['1.0.0'])
  const seen: (string | undefined)[] = []
  node.tracker.onChange(() => seen.push(`${node.status.phase} ${node.status.current?.version ?? 'nothing'}`))

  await fleet.clock.run(node.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('it runs', () => node.status.phase === 'operational')

  expect(seen.filter((text, at) => text !== seen[at - 1])).toEqual([
    'notDeployed nothing',
    'queued nothing',
    'downloading nothing',
    'staged nothing',
    'loading nothing',
    'verifying nothing',
    'operational 1.0.0'
  ])
  expect(node.runtime.calls).toEqual(['load 1.0.0', 'check 1.0.0'])
  expect(node.status).toMatchObject({ attempt: 1, target: { version: '1.0.0', variant: 'any' } })
})

test('[ROLL-10] an upgrade serves the old version until the new one has passed its check', async () => {
  const fleet = new RolloutFleet()
  const node = await fleet.start(0)
  await fleet.publish(node, ['1.0.0', '2.0.0'])
  await fleet.clock.run(node.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('1.0.0 runs', () => node.status.phase === 'operational')
  const currents = new Set<string>()
  node.tracker.onChange(() => currents.add(`${node.status.phase}: ${node.status.current?.version}`))

  await fleet.clock.run(node.distribution.distributeModel(model, '2.0.0'))
  await fleet.until('2.0.0 runs', () => node.status.current?.version === '2.0.0')

  expect([...currents].filter((text) => text.endsWith('2.0.0'))).toEqual(['operational: 2.0.0'])
})

test('[ROLL-11] a version that fails its check is taken back, and the blocker says why', async () => {
  const fleet = new RolloutFleet()
  const node = await fleet.start(0)
  await fleet.publish(node, ['1.0.0', '2.0.0'])
  await fleet.clock.run(node.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('1.0.0 runs', () => node.status.phase === 'operational')
  node.runtime.calls.length = 0
  node.runtime.checks.set('2.0.0', 'fail')

  await fleet.clock.run(node.distribution.distributeModel(model, '2.0.0'))
  await fleet.until('it went back', () => node.status.phase === 'rolledBack')

  expect(node.runtime.calls).toEqual(['load 2.0.0', 'check 2.0.0', 'load 1.0.0', 'check 1.0.0'])
  expect(node.runtime.served).toBe('1.0.0')
  expect(node.status.current?.version).toBe('1.0.0')
  expect(node.blocker).toBe('deploymentFailed: 2.0.0: check 2.0.0 does not work')
  expect(node.distribution.convergenceStatus(model, '2.0.0')).toMatchObject({ state: 'complete', failed: 1 })
})

test('[ROLL-11] the check must keep passing for the soak time', async () => {
  const fleet = new RolloutFleet()
  const node = await fleet.start(0, { init: { soakMs: 10_000, soakCheckPeriodMs: 1000 } })
  await fleet.publish(node, ['1.0.0'])
  await fleet.clock.run(node.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('it is verifying', () => node.status.phase === 'verifying')
  await fleet.clock.advance(5000)
  expect(node.status.phase).toBe('verifying')
  node.runtime.checks.set('1.0.0', 'fail')
  await fleet.until('it failed', () => node.status.phase === 'failed')
  expect(node.status.current).toBeNull()
})

test('[ROLL-11] a first install that fails is unloaded, visible, and not tried again for the same rollout', async () => {
  const fleet = new RolloutFleet()
  const node = await fleet.start(0)
  await fleet.publish(node, ['1.0.0'])
  node.runtime.loads.set('1.0.0', 'fail')

  await fleet.clock.run(node.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('it failed', () => node.status.phase === 'failed')
  expect(node.runtime.calls).toEqual(['load 1.0.0', 'unload'])
  expect(node.status.current).toBeNull()
  await fleet.clock.advance(300_000)
  const again = await fleet.restart(node)
  await fleet.clock.advance(300_000)
  expect(again.runtime.calls).toEqual([])

  await fleet.clock.run(again.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('a new rollout is tried', () => again.status.phase === 'operational')
})

test('[ROLL-11] a version that failed is not tried again after a start at which the version before did not work either', async () => {
  const fleet = new RolloutFleet()
  const node = await fleet.start(0)
  await fleet.publish(node, ['1.0.0', '2.0.0'])
  await fleet.clock.run(node.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('1.0.0 runs', () => node.status.phase === 'operational')
  node.runtime.checks.set('2.0.0', 'fail')
  await fleet.clock.run(node.distribution.distributeModel(model, '2.0.0'))
  await fleet.until('it went back', () => node.status.phase === 'rolledBack')

  const again = await fleet.restart(node, { prepare: (runtime) => runtime.loads.set('1.0.0', 'fail') })
  await fleet.until('it failed again', () => again.status.phase === 'failed')
  await fleet.clock.advance(60_000)
  expect(new Set(again.runtime.calls)).toEqual(new Set(['load 1.0.0']))
  again.runtime.loads.clear()
  await fleet.until('1.0.0 serves again', () => again.status.phase === 'rolledBack' && again.runtime.served === '1.0.0')
  await fleet.clock.advance(60_000)
  expect(again.runtime.calls).not.toContain('load 2.0.0')
})

test('[ROLL-12] after a start in the middle of verifying, the version that ran serves first', async () => {
  const fleet = new RolloutFleet()
  const node = await fleet.start(0)
  await fleet.publish(node, ['1.0.0', '2.0.0'])
  await fleet.clock.run(node.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('1.0.0 runs', () => node.status.phase === 'operational')
  node.runtime.checks.set('2.0.0', 'hang')
  await fleet.clock.run(node.distribution.distributeModel(model, '2.0.0'))
  await fleet.until('it verifies 2.0.0', () => node.status.phase === 'verifying')

  const again = await fleet.restart(node)
  await fleet.until('2.0.0 runs', () => again.status.current?.version === '2.0.0')
  expect(again.runtime.calls).toEqual(['load 1.0.0', 'check 1.0.0', 'load 2.0.0', 'check 2.0.0'])
  expect(again.status.attempt).toBe(2)
})

test('[ROLL-12] a version that does not run after a start is degraded, says so however long the reason is, and is tried again', async () => {
  const fleet = new RolloutFleet()
  const node = await fleet.start(0)
  await fleet.publish(node, ['1.0.0'])
  await fleet.clock.run(node.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('1.0.0 runs', () => node.status.phase === 'operational')
  const again = await fleet.restart(node, {
    prepare: (runtime) => (runtime.load = () => Promise.reject(new Error('x'.repeat(5000))))
  })
  await fleet.until('it is degraded', () => again.status.phase === 'degraded')
  expect(again.blocker).toMatch(/^deploymentFailed: 1\.0\.0 does not run any more: xxx/)
  expect(again.distribution.convergenceStatus(model, '1.0.0')).toMatchObject({ converged: 0, degraded: 1 })

  again.runtime.load = () => Promise.resolve()
  await fleet.until('it runs again', () => again.status.phase === 'operational')
  expect(again.blocker).toBeUndefined()
})

test('[ROLL-13] a runtime that ignores its signal still runs out of time, and the version before is restored', async () => {
  const fleet = new RolloutFleet()
  const node = await fleet.start(0, { init: { loadTimeoutMs: 20_000 } })
  await fleet.publish(node, ['1.0.0', '2.0.0'])
  await fleet.clock.run(node.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('1.0.0 runs', () => node.status.phase === 'operational')
  node.runtime.loads.set('2.0.0', 'ignore')
  await fleet.clock.run(node.distribution.distributeModel(model, '2.0.0'))
  await fleet.until('it went back', () => node.status.phase === 'rolledBack')
  expect(node.blocker).toMatch(
    /^deploymentFailed: 2\.0\.0: The runtime's load\(\) for detector did not end within 20000 ms$/
  )
})

test('[ROLL-13] a call that is told to end has ended before the next one begins', async () => {
  const fleet = new RolloutFleet()
  const node = await fleet.start(0, { init: { checkTimeoutMs: 5000 } })
  await fleet.publish(node, ['1.0.0', '2.0.0'])
  await fleet.clock.run(node.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('1.0.0 runs', () => node.status.phase === 'operational')
  const { runtime } = node
  const check = runtime.check.bind(runtime)
  let [busy, met] = [false, false]
  // Takes two seconds to notice that it shall end.
  runtime.check = async (options) => {
    if (runtime.served !== '2.0.0') return check(options)
    busy = true
    await new Promise<void>((resolve) => {
      options.signal?.addEventListener('abort', () => fleet.clock.setTimer(2000, resolve))
    })
    busy = false
    throw new Error('ended')
  }
  const load = runtime.load.bind(runtime)
  runtime.load = (artifact, options) => {
    met ||= busy
    return load(artifact, options)
  }
  await fleet.clock.run(node.distribution.distributeModel(model, '2.0.0', all()))
  await fleet.until('it went back', () => node.status.phase === 'rolledBack')
  expect(met).toBe(false)
  expect(runtime.mostActive).toBe(1)
})

test('[ROLL-14] older versions are freed, the one before and those published here stay', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = [await fleet.start(0), await fleet.start(1)]
  await fleet.publish(publisher, ['1.0.0', '2.0.0', '3.0.0'])
  for (const each of ['1.0.0', '2.0.0', '3.0.0']) {
    await fleet.clock.run(publisher.distribution.distributeModel(model, each))
    await fleet.until(
      `${each} runs`,
      () => node.status.current?.version === each && node.status.phase === 'operational'
    )
  }
  await fleet.clock.advance(1000)
  const manifestOf = (each: string): unknown =>
    publisher.registry.require(model, version(each)).release.variants[0]?.manifest
  expect(node.blobs.held).toEqual(new Set([manifestOf('2.0.0'), manifestOf('3.0.0')]))
  expect(publisher.blobs.held.size).toBe(3)
})

test('[ROLL-14] a store that cannot remove an old version does not undo the new one', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = [await fleet.start(0), await fleet.start(1, { init: { keepVersions: 1 } })]
  await fleet.publish(publisher, ['1.0.0', '2.0.0'])
  node.blobs.remove = () => Promise.reject(new Error('read-only'))
  for (const each of ['1.0.0', '2.0.0']) {
    await fleet.clock.run(publisher.distribution.distributeModel(model, each))
    await fleet.until(`${each} runs`, () => node.status.current?.version === each)
  }
  await fleet.clock.advance(1000)
  expect(node.status).toMatchObject({ phase: 'operational', current: { version: '2.0.0' } })
  expect(node.status.blocker).toBeUndefined()
})

test('[ROLL-14] what an old version shares with one that stays is kept', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = [await fleet.start(0), await fleet.start(1, { init: { keepVersions: 1 } })]
  await fleet.publish(publisher, ['1.0.0'], { files: [{ path: 'same:1000' }] })
  await fleet.publish(publisher, ['2.0.0'], { files: [{ path: 'same:1000' }] })
  for (const each of ['1.0.0', '2.0.0']) {
    await fleet.clock.run(publisher.distribution.distributeModel(model, each))
    await fleet.until(`${each} runs`, () => node.status.current?.version === each)
  }
  await fleet.clock.advance(1000)
  expect([node.blobs.removed, node.blobs.held.size]).toEqual([[], 1])
})

test('[ROLL-14] the version before stays however often the next one had to be tried', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = [await fleet.start(0), await fleet.start(1)]
  await fleet.publish(publisher, ['1.0.0', '2.0.0'])
  await fleet.clock.run(publisher.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('1.0.0 runs', () => node.status.phase === 'operational')
  node.blobs.failure = new MurmurateError('NETWORK_ERROR', 'the link is gone')
  await fleet.clock.run(publisher.distribution.distributeModel(model, '2.0.0'))
  await fleet.until('it was tried five times', () => node.status.attempt >= 5)
  node.blobs.failure = undefined
  await fleet.until('2.0.0 runs', () => node.status.current?.version === '2.0.0')
  await fleet.clock.advance(1000)
  expect(node.blobs.held.size).toBe(2)
})

test('[ROLL-14] as many versions stay as the node is to keep', async () => {
  const fleet = new RolloutFleet()
  const [publisher, node] = [await fleet.start(0), await fleet.start(1, { init: { keepVersions: 4 } })]
  const versions = ['1.0.0', '2.0.0', '3.0.0', '4.0.0', '5.0.0']
  await fleet.publish(publisher, versions)
  for (const each of versions) {
    await fleet.clock.run(publisher.distribution.distributeModel(model, each))
    await fleet.until(`${each} runs`, () => node.status.current?.version === each)
  }
  await fleet.clock.advance(1000)
  expect(node.blobs.held.size).toBe(4)
})

test('[ROLL-6] a runtime that cannot be made blocks its model, says why, and keeps no node from starting', async () => {
  const fleet = new RolloutFleet()
  const node = await fleet.start(0, { factoryFails: true })
  await fleet.publish(node, ['1.0.0'])
  await fleet.clock.run(node.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('it is blocked', () => node.blocker === 'unknown: detector is not known here')
  const again = await fleet.restart(node, { factoryFails: true })
  expect(again.blocker).toBe('unknown: detector is not known here')
  const healed = await fleet.restart(again)
  await fleet.until('it runs', () => healed.status.phase === 'operational')
})

test('[ROLL-13] a runtime without types may answer at once, without a promise', async () => {
  const fleet = new RolloutFleet()
  const node = await fleet.start(0)
  await fleet.publish(node, ['1.0.0'])
  const answer = (() => undefined) as unknown as () => Promise<void>
  Object.assign(node.runtime, { load: answer, check: answer, ready: () => true })
  await fleet.clock.run(node.distribution.distributeModel(model, '1.0.0'))
  await fleet.until('it runs', () => node.status.phase === 'operational')
})
