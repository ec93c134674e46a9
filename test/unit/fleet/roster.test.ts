import { describe, expect, test } from 'vitest'
import type { NodeId } from '../../../src/core/ids.js'
import { makeAccusation, makeStatement, type Accusation, type Statement } from '../../../src/fleet/presence-message.js'
import { presencePresets } from '../../../src/fleet/presence-presets.js'
import { Roster, type RosterInit } from '../../../src/fleet/roster.js'
import { keyPairOf } from '../record/fixtures.js'

const keys = await Promise.all(Array.from({ length: 12 }, (_, number) => keyPairOf(number)))
const { lan } = presencePresets
const keyOf = (number: number) => keys[number] ?? expect.unreachable()
const idOf = (number: number): NodeId => keyOf(number).nodeId
const alive = (number: number, seq = 0, epoch = 1): Statement => makeStatement(keyOf(number), 'alive', { epoch, seq })
const accused = (accuser: number, statement: Statement, hard = false): Accusation =>
  makeAccusation(keyOf(accuser), statement, hard)

/** The roster of node 0, which has links to these nodes. */
function rosterOf(linked: readonly number[] = [], init: Partial<RosterInit> = {}): Roster {
  const ids = new Set(linked.map(idOf))
  return new Roster({
    self: idOf(0),
    preset: lan,
    isLinked: (nodeId) => ids.has(nodeId),
    isLossy: () => false,
    ...init
  })
}

/** When the verdict on node 1 is passed, ms after its first accusation at 0. */
function verdictAt(roster: Roster): number {
  const at = roster.nextDeadline
  roster.expire(at - 1)
  expect(roster.stateOf(idOf(1))).toBe('suspected')
  roster.expire(at)
  expect(roster.stateOf(idOf(1))).toBe('failed')
  return at
}

describe('the verdict', () => {
  test('[FLEET-28] suspicion is as long as the formula says: 8 s alone, 4.2 s with one more accuser, 2 s with two', () => {
    const after = (accusers: number): number => {
      const roster = rosterOf()
      for (let accuser = 2; accuser < 2 + accusers; accuser++) roster.accuse(accused(accuser, alive(1)), 0)
      return verdictAt(roster)
    }
    expect(after(1)).toBe(8_000)
    expect(after(2)).toBeCloseTo(8_000 - (6_000 * Math.log(2)) / Math.log(3))
    expect(after(3)).toBe(2_000)
    expect(after(5)).toBe(2_000)
  })

  test('[FLEET-28] while packets are lost, suspicion lasts at least 4 s', () => {
    const roster = rosterOf([], { isLossy: () => true })
    for (const accuser of [2, 3, 4, 5]) roster.accuse(accused(accuser, alive(1)), 0)
    expect(verdictAt(roster)).toBe(4_000)
  })

  test('[FLEET-21] the hard evidence of two fails a node after 0.5 s, of one not; its own is enough', () => {
    const one = rosterOf()
    one.accuse(accused(2, alive(1), true), 0)
    expect(one.nextDeadline).toBe(8_000)
    one.accuse(accused(3, alive(1), true), 100)
    expect(verdictAt(one)).toBe(600)
    const own = rosterOf()
    own.accuse(accused(0, alive(1), true), 0)
    expect(verdictAt(own)).toBe(500)
  })

  test('[FLEET-29] who has a link to the accused believes no single accuser, and no hard evidence of others', () => {
    const roster = rosterOf([1])
    roster.accuse(accused(2, alive(1), true), 0)
    expect(roster.nextDeadline).toBe(Infinity)
    roster.accuse(accused(3, alive(1), true), 0)
    expect(roster.nextDeadline).toBeGreaterThan(4_000)
  })

  test('[FLEET-29] the same accuser counts once, however often it accuses', () => {
    const roster = rosterOf()
    expect(roster.accuse(accused(2, alive(1)), 0)).toBe(true)
    expect(roster.accuse(accused(2, alive(1), true), 0)).toBe(false)
    expect(roster.nextDeadline).toBe(8_000)
  })

  test('[FLEET-28] a refutation ends suspicion and brings back a failed node; old accusations count no more', () => {
    const roster = rosterOf()
    for (const accuser of [2, 3, 4]) roster.accuse(accused(accuser, alive(1)), 0)
    expect(roster.tell(alive(1, 1), 10)).toBe(true)
    expect(roster.stateOf(idOf(1))).toBe('alive')
    expect(roster.accuse(accused(5, alive(1)), 20)).toBe(false)
    expect(roster.stateOf(idOf(1))).toBe('alive')
    for (const accuser of [2, 3, 4]) roster.accuse(accused(accuser, alive(1, 1)), 30)
    roster.expire(10_000)
    expect(roster.stateOf(idOf(1))).toBe('failed')
    roster.tell(alive(1, 0, 2), 10_001)
    expect(roster.stateOf(idOf(1))).toBe('alive')
  })

  test('[FLEET-24] who left is not accused, and comes back with a later word only', () => {
    const roster = rosterOf()
    roster.tell(alive(1, 4), 0)
    roster.tell(makeStatement(keyOf(1), 'left', { epoch: 1, seq: 5 }), 0)
    expect(roster.accuse(accused(2, alive(1, 4)), 0)).toBe(false)
    expect(roster.stateOf(idOf(1))).toBe('left')
    expect(roster.tell(alive(1, 4), 0)).toBe(false)
    expect(roster.tell(alive(1, 6), 0)).toBe(true)
    expect(roster.takeChanged()).toEqual([idOf(1)])
  })
})

describe('the memory', () => {
  test('[FLEET-30] a full roster takes strangers only in the place of who is gone; a linked peer gets the place of one that is not', () => {
    const roster = rosterOf([5], { maxNodes: 3 })
    for (const number of [0, 1, 2]) roster.tell(alive(number), number)
    expect(roster.tell(alive(3), 5)).toBe(false)
    expect(roster.accuse(accused(2, alive(4)), 5)).toBe(false)
    roster.tell(makeStatement(keyOf(2), 'left', { epoch: 1, seq: 1 }), 6)
    expect(roster.tell(alive(3), 7)).toBe(true)
    expect(roster.stateOf(idOf(2))).toBe('unknown')
    expect(roster.tell(alive(5), 8, true)).toBe(true)
    expect([1, 3, 5].map((number) => roster.stateOf(idOf(number)))).toEqual(['unknown', 'alive', 'alive'])
    expect(roster.size).toBe(3)
  })

  test('[FLEET-30] of one node at most 8 accusers are remembered', () => {
    const roster = rosterOf()
    const taken = keys.slice(2).map((_, at) => roster.accuse(accused(at + 2, alive(1)), 0))
    expect(taken.filter(Boolean)).toHaveLength(8)
  })

  test('[FLEET-31] equal rosters have equal digests, in whatever order they came to be; what one lacks is found', () => {
    const [one, two] = [rosterOf(), rosterOf()]
    for (const number of [1, 2, 3]) one.tell(alive(number), 0)
    for (const number of [3, 2, 1]) two.tell(alive(number), 5)
    expect(one.digest).toEqual(two.digest)
    one.accuse(accused(4, alive(2)), 0)
    expect(one.digest).not.toEqual(two.digest)
    for (const message of one.missingIn(two.summary)) {
      if (message.type === 'accusation') two.accuse(message, 9)
      else two.tell(message, 9)
    }
    expect(two.digest).toEqual(one.digest)
    expect(two.stateOf(idOf(2))).toBe('suspected')
  })
})
