import fc from 'fast-check'
import { expect, test } from 'vitest'
import { exclusion } from '../../src/models/scope.js'
import {
  convergence,
  convergenceProgress,
  isComplete,
  isSuccess,
  type ConvergenceInput
} from '../../src/rollout/convergence.js'
import { anyMembers, anyRollouts, anyStatuses, inputOf } from '../support/rollouts.js'

const anyInput: fc.Arbitrary<ConvergenceInput> = anyRollouts.chain((rollouts) =>
  fc
    .record({ members: anyMembers, statuses: anyStatuses(rollouts) })
    .map(({ members, statuses }) => inputOf(rollouts, { members, statuses }))
)

test('[ROLL-1] every member of the scope is in exactly one bucket, and no other node is counted', () => {
  fc.assert(
    fc.property(anyInput, (input) => {
      const verdict = convergence(input)
      const { converged, degraded, inProgress, pending, failed, superseded, totalPlatforms } = verdict
      const inScope = input.members.filter((member) => exclusion(input.rollout.intent.scope, member) === undefined)
      expect(converged + degraded + inProgress + pending + failed + superseded).toBe(totalPlatforms)
      expect(totalPlatforms).toBe(inScope.length)
      expect(verdict.excluded).toBe(input.members.length - inScope.length)
      expect(verdict.offline).toBeLessThanOrEqual(totalPlatforms)
      expect(Object.values(verdict.versionDistribution).reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(
        totalPlatforms
      )
      expect(new Set(verdict.blockers.map(({ nodeId }) => nodeId)).size).toBe(verdict.blockers.length)
    }),
    { numRuns: 1000 }
  )
})

test('[ROLL-2] progress is between 0 and 1, and success means that all of a scope that is not empty have converged', () => {
  fc.assert(
    fc.property(anyInput, (input) => {
      const verdict = convergence(input)
      const progress = convergenceProgress(verdict)
      expect(progress).toBeGreaterThanOrEqual(0)
      expect(progress).toBeLessThanOrEqual(1)
      expect(isSuccess(verdict)).toBe(progress === 1)
      if (verdict.totalPlatforms === 0) expect([isSuccess(verdict), progress]).toEqual([false, 0])
      if (verdict.state === 'complete') expect(verdict.totalPlatforms).toBeGreaterThan(0)
      if (isSuccess(verdict)) expect(isComplete(verdict)).toBe(true)
    }),
    { numRuns: 1000 }
  )
})

test('[ROLL-3] the verdict depends on what is known, not on the order in which it came', () => {
  const twice = anyInput.chain((input) =>
    fc
      .record({
        rollouts: fc.shuffledSubarray([...input.rollouts], { minLength: input.rollouts.length }),
        statuses: fc.shuffledSubarray([...input.statuses], { minLength: input.statuses.size })
      })
      .map(({ rollouts, statuses }) => [input, { ...input, rollouts, statuses: new Map(statuses) }] as const)
  )
  fc.assert(
    fc.property(twice, ([one, two]) => {
      expect(convergence(two)).toEqual(convergence(one))
    })
  )
})
