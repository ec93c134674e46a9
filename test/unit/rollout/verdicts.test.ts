import { expect, test } from 'vitest'
import { parseVersion, type Version } from '../../../src/core/ids.js'
import type { Member } from '../../../src/fleet/membership.js'
import type { ModelConvergenceStatus, Verdict } from '../../../src/rollout/convergence.js'
import { noStatus, type StatusBody } from '../../../src/rollout/status.js'
import { intentOf, memberOf, nodeIdOf, running } from '../../support/rollouts.js'
import { model, offlineAfterMs, rolloutEntry, startMs, statusEntry, VerdictWorld } from '../../support/verdict-world.js'

const count = 40
const intent = intentOf(1)
const { version } = intent
const target = { rollout: intent.id, version, variant: null }
const blocker = {
  reason: 'insufficientStorage',
  since: 5,
  message: 'short',
  required: 9,
  available: 4,
  unit: 'MiB'
} as const

/** A world with a rollout and 40 members that nobody has heard of. */
function worldOf(...entries: Parameters<typeof rolloutEntry>[1][]): VerdictWorld {
  const world = new VerdictWorld()
  world.membership.set(Array.from({ length: count }, (_, number) => [nodeIdOf(number), memberOf(number)]))
  for (const body of [{ intent }, ...entries]) world.rollouts([rolloutEntry(0, body)])
  return world
}

function say(world: VerdictWorld, number: number, body: Partial<StatusBody>, at = 500): void {
  world.statuses([statusEntry(number, { ...noStatus, target, ...body }, at)])
}

function read(world: VerdictWorld, of: Version = version): Verdict {
  const verdict = world.verdicts.read(model, of)
  if (verdict === undefined) throw new Error('There is no verdict')
  return verdict
}

function presence(world: VerdictWorld, number: number, parts: Partial<Member>): void {
  world.membership.set([[nodeIdOf(number), memberOf(number, parts)]])
}

test('[ROLL-32] the first question looks at every member, later ones at those alone of whom something was heard', () => {
  const world = worldOf()
  const { membership } = world
  expect(read(world)).toMatchObject({ pending: count })
  expect([membership.listings, membership.looks]).toEqual([1, 0])
  say(world, 3, { phase: 'downloading' })
  say(world, 3, { phase: 'operational', current: running('1.0.0') })
  presence(world, 5, { online: false, offlineSince: startMs })
  expect(read(world)).toMatchObject({ pending: count - 1, converged: 1, offline: 1 })
  read(world)
  expect([membership.listings, membership.looks]).toEqual([1, 2])
})

test('[ROLL-32] what nobody asks for is not kept up to date: it is dropped when half of the nodes have changed', () => {
  const world = worldOf()
  const changed = (number: number): void => {
    for (let node = 0; node < number; node += 1) say(world, node, { phase: 'queued' })
  }
  presence(world, 39, { online: false, offlineSince: startMs })
  read(world)
  changed(count / 2)
  read(world)
  expect([world.membership.listings, world.membership.looks]).toEqual([1, count / 2])
  expect(world.verdicts.untilNextDue(model, version)).toBe(offlineAfterMs)
  changed(count / 2 + 2)
  expect(world.verdicts.untilNextDue(model, version)).toBeUndefined()
  expect(world.membership.looks).toBe(count / 2)
  read(world)
  expect([world.membership.listings, world.membership.looks]).toEqual([2, count / 2])
})

test('[ROLL-32] of too many versions those asked for longest ago are looked at anew', () => {
  const versions = Array.from({ length: 17 }, (_, number) => parseVersion(`2.0.${number}`))
  const intents = versions.map((each, number) => intentOf(10 + number, { version: each }))
  const world = worldOf(...intents.map((each) => ({ intent: each })))
  const listingsOf = (...asked: (Version | undefined)[]): number => {
    const before = world.membership.listings
    for (const each of asked) read(world, each)
    return world.membership.listings - before
  }
  expect(listingsOf(...versions.slice(0, 16))).toBe(16)
  expect(listingsOf(versions[0], ...versions.slice(2, 16))).toBe(0)
  // The seventeenth takes the place of the one that was asked for longest ago.
  expect(listingsOf(versions[16], versions[0], versions[2])).toBe(1)
  expect(listingsOf(versions[1])).toBe(1)
})

test('[ROLL-32] lists are handed out as they are until they change, and what was handed out never changes', () => {
  const world = worldOf()
  say(world, 1, { phase: 'queued', blocker })
  say(world, 2, { phase: 'queued', blocker })
  const first = read(world)
  say(world, 2, { phase: 'queued', blocker, attempt: 7 }, 900)
  say(world, 3, { phase: 'downloading' })
  const second = read(world)
  expect(second.inProgress).toBe(1)
  expect([second.blockers, second.versionDistribution]).toEqual([first.blockers, first.versionDistribution])
  expect(second.blockers).toBe(first.blockers)
  expect(second.versionDistribution).toBe(first.versionDistribution)
  say(world, 1, { phase: 'operational', current: running('1.0.0') })
  const third = read(world)
  expect(first.blockers.map(({ nodeId }) => nodeId)).toEqual([nodeIdOf(1), nodeIdOf(2)])
  expect(third.blockers.map(({ nodeId }) => nodeId)).toEqual([nodeIdOf(2)])
  expect([first.versionDistribution, third.versionDistribution]).toEqual([{}, { '1.0.0': 1 }])
  expect([first.blockers, third.versionDistribution].map((each) => Object.isFrozen(each))).toEqual([true, true])
})

test('[ROLL-32] the document is hashed for verdicts that are handed out, not for each change', () => {
  const world = worldOf()
  for (let number = 0; number < 10; number += 1) {
    say(world, number, { phase: 'queued' })
    read(world)
  }
  expect(world.document.digests).toBe(0)
  const stamped: ModelConvergenceStatus = world.verdicts.stamped(read(world))
  expect(stamped.asOf).toEqual({ digest: 'digest', oldestStatus: 500 })
  expect(world.document.digests).toBe(1)
})

test('[ROLL-30] time alone blocks a node by its network, and a clock that is set back undoes it', () => {
  const world = worldOf()
  presence(world, 4, { online: false, offlineSince: startMs })
  const blocked = (): number => read(world).blockers.length
  expect(blocked()).toBe(0)
  expect(world.verdicts.untilNextDue(model, version)).toBe(offlineAfterMs)
  world.clock.wallMs = startMs + offlineAfterMs - 1
  expect([blocked(), world.verdicts.untilNextDue(model, version)]).toEqual([0, 1])
  world.clock.wallMs += 1
  expect([blocked(), world.verdicts.untilNextDue(model, version)]).toEqual([1, undefined])
  expect([world.membership.listings, world.membership.looks]).toEqual([1, 1])
  world.clock.wallMs -= 1
  expect([blocked(), world.verdicts.untilNextDue(model, version)]).toEqual([0, 1])
})

test('[ROLL-31] a status that leaves the document is said no more', () => {
  const world = worldOf()
  const body = { ...noStatus, target, phase: 'operational', current: running('1.0.0') } as const
  const [one, two] = [statusEntry(1, body, 400), statusEntry(2, body, 500)]
  world.statuses([one, two])
  expect(world.status(version)).toMatchObject({ converged: 2, asOf: { oldestStatus: 400 } })
  world.statuses([], [one])
  expect(world.status(version)).toMatchObject({ converged: 1, pending: count - 1, asOf: { oldestStatus: 500 } })
  expect([world.tracker.status(model, nodeIdOf(1)), world.tracker.statusesOf(model).size]).toEqual([undefined, 1])
  // Whoever may write again says it again, also together with what left.
  world.statuses([one], [one, two])
  expect(read(world)).toMatchObject({ converged: 1, versionDistribution: { '1.0.0': 1 } })
})

test('[ROLL-31] an intent or a cancel of an operator who may give none counts no more; that of another one does', () => {
  const world = worldOf()
  const { tracker } = world
  const heard: string[] = []
  tracker.onChange((changed, change) => heard.push(`${changed} ${change}`))
  const cancel = { action: 'cancel', lamport: 1, issuedAt: 0 } as const
  const [own, other] = [rolloutEntry(0, { intent }), rolloutEntry(3, { intent, control: cancel })]
  world.rollouts([other])
  expect(tracker.rollouts.get(intent.id)).toMatchObject({ issuer: nodeIdOf(0), cancelled: true })
  world.rollouts([], [other])
  expect(tracker.rollouts.get(intent.id)).toMatchObject({ issuer: nodeIdOf(0), cancelled: false })
  world.rollouts([other], [own])
  expect(tracker.rollouts.get(intent.id)).toMatchObject({ issuer: nodeIdOf(3), cancelled: true })
  world.rollouts([], [other])
  expect([tracker.rollouts.get(intent.id), tracker.rolloutsOf(model), tracker.rollouts.models()]).toEqual([
    undefined,
    [],
    []
  ])
  expect(heard).toEqual(Array.from({ length: 4 }, () => `${model} rollout`))
  expect(world.verdicts.read(model, version)).toBeUndefined()
  expect(tracker.rollouts.next(model).lamport).toBeGreaterThan(1)
})
