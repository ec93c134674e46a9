import fc from 'fast-check'
import { expect, test } from 'vitest'
import { model, rolloutEntry, VerdictWorld } from '../support/verdict-world.js'
import {
  anyIntent,
  anyMember,
  anyStatus,
  anyStep,
  populate,
  unpopulate,
  versions,
  type Step
} from '../support/verdict-steps.js'

/** Whether the index says of each version what everything looked at anew says. */
function compare(world: VerdictWorld): void {
  for (const version of versions) {
    expect(world.status(version)).toEqual(world.rescanned(version))
    expect(world.verdicts.untilNextDue(model, version)).toBe(world.rescannedDue(version))
  }
}

/** Something happens, and then somebody asks, or not. */
const anyHistory = (count: number): fc.Arbitrary<[Step, boolean][]> =>
  fc.array(fc.tuple(anyStep(count), fc.boolean()), { maxLength: 60 })

test('[ROLL-30] after anything that may happen the verdict kept up to date is the one computed from everything', () => {
  fc.assert(
    fc.property(anyHistory(12), fc.boolean(), (history, isPopulated) => {
      const world = new VerdictWorld()
      if (isPopulated) populate(world, 12)
      for (const [step, isAsked] of history) {
        step(world)
        if (isAsked) compare(world)
      }
      compare(world)
    }),
    { numRuns: 400 }
  )
})

test('[ROLL-30] a long run among more nodes, the same every time', () => {
  const count = 58
  const world = new VerdictWorld()
  populate(world, count)
  for (const step of fc.sample(anyStep(count), { numRuns: 6000, seed: 20_260_731 })) {
    step(world)
    compare(world)
  }
})

/** What there is to know of one rollout or node: facts of different subjects, so that their order does not matter. */
const anyFacts: fc.Arbitrary<Step[]> = fc
  .tuple(
    fc.uniqueArray(anyIntent, { selector: ({ id }) => id }),
    fc.uniqueArray(anyStatus(12), { selector: ({ writer }) => writer }),
    fc.uniqueArray(anyMember(12), { selector: ({ nodeId }) => nodeId })
  )
  .map(([intents, statuses, members]) => [
    ...intents.map(
      (intent): Step =>
        (world) =>
          world.rollouts([rolloutEntry(0, { intent })])
    ),
    ...statuses.map(
      (entry): Step =>
        (world) =>
          world.statuses([entry])
    ),
    ...members.map(
      (member): Step =>
        (world) =>
          world.membership.set([[member.nodeId, member]])
    )
  ])

test('[ROLL-3] two nodes that know the same say the same, whatever they heard before, in whatever order', () => {
  const twoOrders = anyFacts.chain((facts) =>
    fc.tuple(fc.constant(facts), fc.shuffledSubarray(facts, { minLength: facts.length }))
  )
  const old = fc.array(anyStatus(12), { maxLength: 5 })
  fc.assert(
    fc.property(twoOrders, old, fc.infiniteStream(fc.boolean()), ([facts, shuffled], statuses, chance) => {
      const [one, two] = [new VerdictWorld(), new VerdictWorld()]
      populate(one, 3)
      one.statuses(statuses)
      for (const version of versions) one.status(version)
      one.statuses([], statuses)
      unpopulate(one, 3)
      for (const [world, order] of [
        [one, facts],
        [two, shuffled]
      ] as const) {
        for (const fact of order) {
          fact(world)
          if (chance.next().value === true) world.status(versions[0])
        }
      }
      for (const version of versions) expect(one.status(version)).toEqual(two.status(version))
    }),
    { numRuns: 300 }
  )
})
