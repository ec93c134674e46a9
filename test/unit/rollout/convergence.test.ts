import { expect, test } from 'vitest'
import { parseVariantId, parseVersion } from '../../../src/core/ids.js'
import { blockerReasons, type StatusBody } from '../../../src/rollout/status.js'
import {
  convergence,
  isComplete,
  isSuccess,
  rolloutFor,
  type ModelConvergenceStatus
} from '../../../src/rollout/convergence.js'
import { inputOf, intentOf, memberOf, nodeIdOf, observed, rolloutOf, running } from '../../support/rollouts.js'

const intent = intentOf(1)
const rollout = rolloutOf(intent)
const target = { rollout: intent.id, version: intent.version, variant: null }

/** The verdict over nodes with these statuses. */
function verdictOf(...bodies: Partial<StatusBody>[]): ModelConvergenceStatus {
  const statuses = new Map(bodies.map((body, number) => [nodeIdOf(number), observed(number, body)]))
  return convergence(inputOf([rollout], { members: bodies.map((_, number) => memberOf(number)), statuses }))
}

test('[ROLL-2] a scope without members is empty, neither complete nor a success (a9)', () => {
  const verdict = verdictOf()
  expect([verdict.state, isComplete(verdict), isSuccess(verdict)]).toEqual(['empty', false, false])
})

test('[ROLL-2] degraded is not converged (a10)', () => {
  const verdict = verdictOf({ phase: 'degraded', current: running('1.0.0'), target })
  expect(verdict).toMatchObject({ converged: 0, degraded: 1, state: 'complete' })
  expect(isSuccess(verdict)).toBe(false)
})

test('[ROLL-2] a node that never finished an install is counted by what it does (a3, a5)', () => {
  const verdict = verdictOf(
    { phase: 'downloading', target },
    { phase: 'verifying', target },
    { phase: 'failed', target },
    { phase: 'rolledBack', target, current: running('0.9.0') },
    { phase: 'queued', target },
    {}
  )
  expect(verdict).toMatchObject({ inProgress: 2, failed: 2, pending: 2, converged: 0, state: 'running' })
})

test('[ROLL-2] an upgraded node counts once, for what runs (a4)', () => {
  const verdict = verdictOf({ phase: 'operational', current: running('1.0.0'), target }, { current: running('0.9.0') })
  expect(verdict).toMatchObject({ totalPlatforms: 2, converged: 1, pending: 1 })
  expect(verdict.versionDistribution).toEqual({ '0.9.0': 1, '1.0.0': 1 })
})

test('[ROLL-2] the release decides, not the version string: other bytes under the same version have not converged', () => {
  const current = { ...running('1.0.0'), release: running('2.0.0').release }
  expect(verdictOf({ phase: 'operational', current, target })).toMatchObject({ converged: 0, pending: 1 })
})

test('[ROLL-2] where a variant is pinned, another variant of the release has not converged', () => {
  const pinned = rolloutOf(intentOf(1, { variant: parseVariantId('int8') }))
  const statuses = new Map([[nodeIdOf(0), observed(0, { phase: 'operational', current: running('1.0.0'), target })]])
  const verdict = convergence(inputOf([pinned], { members: [memberOf(0)], statuses }))
  expect(verdict).toMatchObject({ converged: 0, pending: 1 })
})

test('[ROLL-7] a node that cannot be reached is offline at once, and blocked by its network after a while (a11)', () => {
  const statuses = new Map([[nodeIdOf(0), observed(0, { phase: 'downloading', target })]])
  const at = (offlineSince: number): ModelConvergenceStatus =>
    convergence(inputOf([rollout], { members: [memberOf(0, { online: false, offlineSince })], statuses }))
  expect(at(940_001)).toMatchObject({ offline: 1, inProgress: 1, blockers: [], state: 'running' })
  expect(at(940_000)).toMatchObject({
    offline: 1,
    inProgress: 1,
    state: 'complete',
    blockers: [{ reason: 'networkPartition', since: 940_000, nodeId: nodeIdOf(0) }]
  })
})

test('[ROLL-7] a node that ran the version and is gone keeps its bucket and is blocked; why a version failed stays the reason', () => {
  const members = [0, 1].map((number) => memberOf(number, { online: false, offlineSince: 940_000 }))
  const blocker = { reason: 'deploymentFailed' as const, since: 5, message: 'because' }
  const statuses = new Map([
    [nodeIdOf(0), observed(0, { phase: 'operational', current: running('1.0.0'), target })],
    [nodeIdOf(1), observed(1, { phase: 'failed', target, blocker })]
  ])
  const verdict = convergence(inputOf([rollout], { members, statuses }))
  expect(verdict).toMatchObject({ converged: 1, failed: 1, offline: 2, state: 'complete' })
  expect(verdict.blockers.map(({ reason }) => reason)).toEqual(['networkPartition', 'deploymentFailed'])
})

test('[ROLL-6] each reason that a node gives is shown with its numbers, its since and a next step (a6, a7)', () => {
  for (const reason of blockerReasons) {
    const blocker = { reason, since: 123, message: 'because', required: 8, available: 4, unit: 'MiB' as const }
    const [shown] = verdictOf({ phase: 'queued', target, blocker }).blockers
    expect(shown).toMatchObject({ ...blocker, nodeId: nodeIdOf(0) })
    expect(shown?.nextStep.length).toBeGreaterThan(20)
  }
})

test('[ROLL-6] a blocker of another rollout is not held against this one, nor one of a node that runs the version', () => {
  const blocker = { reason: 'deploymentFailed', since: 123, message: 'because' } as const
  const other = { ...target, rollout: intentOf(2).id }
  expect(verdictOf({ phase: 'rolledBack', target: other, blocker }).blockers).toEqual([])
  expect(verdictOf({ phase: 'rolledBack', current: running('1.0.0'), target: other, blocker }).blockers).toEqual([])
})

test('[ROLL-1] a node on which a later rollout counts is superseded; a cancelled one takes nobody away that runs the version', () => {
  const later = intentOf(2, { version: parseVersion('2.0.0'), release: running('2.0.0').release, generation: 2 })
  const members = [memberOf(0), memberOf(1)]
  const statuses = new Map([[nodeIdOf(0), observed(0, { phase: 'operational', current: running('1.0.0'), target })]])
  const verdict = convergence(inputOf([rollout, rolloutOf(later)], { members, statuses }))
  expect(verdict).toMatchObject({ superseded: 2, converged: 0, state: 'complete', blockers: [] })
  const cancelled = convergence(inputOf([rollout, rolloutOf(later, true)], { members, statuses }))
  expect(cancelled).toMatchObject({ superseded: 1, converged: 1 })
})

test('[ROLL-1] nodes outside the scope are excluded and count for nothing (a8, a19)', () => {
  const north = rolloutOf(intentOf(1, { scope: { kind: 'formation', formation: 'north' } }))
  const members = [memberOf(0, { formations: ['north'] }), memberOf(1)]
  const statuses = new Map([[nodeIdOf(1), observed(1, { phase: 'failed', target, current: running('0.1.0') })]])
  const verdict = convergence(inputOf([north], { members, statuses }))
  expect(verdict).toMatchObject({ totalPlatforms: 1, excluded: 1, failed: 0, pending: 1, versionDistribution: {} })
})

test('[ROLL-1] a cancelled rollout says so (a18)', () => {
  const verdict = convergence(inputOf([rolloutOf(intent, true)], { members: [memberOf(0)] }))
  expect(verdict).toMatchObject({ state: 'cancelled', pending: 1, failed: 0 })
  expect(isComplete(verdict)).toBe(true)
})

test('[ROLL-9] the time left is that of the slowest transfer, and unknown when one of the rates is (a12)', () => {
  const statuses = new Map([
    [nodeIdOf(0), observed(0, { phase: 'downloading', target })],
    [nodeIdOf(1), observed(1, { phase: 'downloading', target })],
    [nodeIdOf(2), observed(2, { phase: 'verifying', target })]
  ])
  const members = [memberOf(0), memberOf(1), memberOf(2)]
  const rate = (
    haveBytes: number,
    bytesPerSecond?: number
  ): { haveBytes: number; totalBytes: number; bytesPerSecond: number | undefined } => {
    return { haveBytes, totalBytes: 1000, bytesPerSecond }
  }
  const left = (one: ReturnType<typeof rate>, two: ReturnType<typeof rate>): number | undefined => {
    const transfers = new Map([
      [nodeIdOf(0), one],
      [nodeIdOf(1), two]
    ])
    return convergence(inputOf([rollout], { members, statuses, transfers })).estimatedCompletion
  }
  expect(left(rate(500, 100), rate(900, 10))).toBe(10_000)
  expect(left(rate(500, 100), rate(900))).toBeUndefined()
  expect(left(rate(500, 100), rate(900, 0))).toBeUndefined()
  // A node that is cut off does not hide when the others will be done.
  const apart = [memberOf(0), memberOf(1, { online: false, offlineSince: 0 }), memberOf(2)]
  const transfers = new Map([[nodeIdOf(0), rate(500, 100)]])
  expect(convergence(inputOf([rollout], { members: apart, statuses, transfers })).estimatedCompletion).toBe(5000)
})

test('[ROLL-3] a verdict tells from which document it was computed, and how old the oldest status in it is', () => {
  const verdict = verdictOf({ phase: 'queued', target }, { phase: 'queued', target })
  expect(verdict.asOf).toEqual({ digest: 'digest', oldestStatus: 500 })
  expect(verdictOf().asOf).toEqual({ digest: 'digest' })
})

test('[ROLL-4] a question about a version means the rollout of it that counts most', () => {
  const [first, second] = [rolloutOf(intentOf(9)), rolloutOf(intentOf(3, { generation: 2 }))]
  const other = rolloutOf(intentOf(4, { version: parseVersion('2.0.0'), generation: 3 }))
  expect(rolloutFor([first, second, other], intent.version)).toBe(second)
  expect(rolloutFor([other], intent.version)).toBeUndefined()
})
