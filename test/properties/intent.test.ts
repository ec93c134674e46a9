import fc from 'fast-check'
import { expect, test } from 'vitest'
import { exclusion } from '../../src/models/scope.js'
import type { Entry } from '../../src/record/entry.js'
import { precedes, RolloutIndex, rolloutPage, winningRollout, type RolloutBody } from '../../src/rollout/intent.js'
import { anyRollouts, intentOf, memberOf, nodeIdOf } from '../support/rollouts.js'

test('[ROLL-4] the order of rollouts is total', () => {
  fc.assert(
    fc.property(anyRollouts, (rollouts) => {
      const intents = rollouts.map(({ intent }) => intent)
      for (const a of intents) {
        expect(precedes(a, a)).toBe(false)
        for (const b of intents) {
          if (a.id !== b.id) expect(precedes(a, b)).toBe(!precedes(b, a))
          for (const c of intents) if (precedes(a, b) && precedes(b, c)) expect(precedes(a, c)).toBe(true)
        }
      }
    })
  )
})

test('[ROLL-4] the rollout that counts on a node is the first in order that is meant for it, in whatever order they came', () => {
  const member = memberOf(3, { formations: ['north'] })
  fc.assert(
    fc.property(
      anyRollouts.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))),
      ([one, two]) => {
        const winner = winningRollout(one, member)
        expect(winningRollout(two, member)).toBe(winner)
        const others = one.filter(
          (rollout) => exclusion(rollout.intent.scope, member) === undefined && rollout !== winner
        )
        expect(winner === undefined ? others : others.filter(({ intent }) => precedes(intent, winner.intent))).toEqual(
          []
        )
      }
    )
  )
})

/** What some operators wrote on one page, one after the other. */
const anyHistory: fc.Arbitrary<Entry<RolloutBody>[]> = fc
  .array(fc.record({ writer: fc.nat(2), generation: fc.option(fc.nat(3)), cancels: fc.boolean() }), {
    minLength: 1,
    maxLength: 6
  })
  .map((steps) =>
    steps.map(({ writer, generation, cancels }, seq) => ({
      page: rolloutPage(intentOf(7).id),
      writer: nodeIdOf(writer),
      epoch: 0,
      seq,
      issuedAt: 0,
      body: {
        ...(generation === null ? {} : { intent: intentOf(7, { generation }) }),
        ...(cancels ? { control: { action: 'cancel' as const, lamport: 1, issuedAt: 0 } } : {})
      }
    }))
  )

test('[ROLL-3] what is known of a rollout follows from the present entries alone, however they were heard', () => {
  fc.assert(
    fc.property(anyHistory, fc.infiniteStream(fc.nat()), (history, chance) => {
      const early = new RolloutIndex()
      for (const entry of history) early.learn([entry])
      // Who joins later meets only the last entry of each writer, in any order.
      const last = [...new Map(history.map((entry) => [entry.writer, entry])).values()]
      const keys = new Map(last.map((entry) => [entry, chance.next().value as number]))
      const late = new RolloutIndex()
      late.learn(last.toSorted((a, b) => (keys.get(a) ?? 0) - (keys.get(b) ?? 0)))
      const { id, model } = intentOf(7)
      expect(late.get(id)).toEqual(early.get(id))
      expect(late.of(model)).toEqual(early.of(model))
    })
  )
})

test('[ROLL-4] the next intent comes before all that are known and all that were handed out', () => {
  fc.assert(
    fc.property(anyRollouts, (rollouts) => {
      const index = new RolloutIndex()
      index.learn(
        rollouts.map(({ intent, issuer }) => ({
          page: rolloutPage(intent.id),
          writer: issuer,
          epoch: 0,
          seq: 0,
          issuedAt: 0,
          body: { intent }
        }))
      )
      const { model } = intentOf(0)
      const first = intentOf(250, index.next(model))
      const second = intentOf(249, index.next(model))
      for (const { intent } of rollouts) expect(precedes(first, intent)).toBe(true)
      expect(precedes(second, first)).toBe(true)
    })
  )
})
