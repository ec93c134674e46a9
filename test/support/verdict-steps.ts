import fc from 'fast-check'
import { parseVariantId, parseVersion } from '../../src/core/ids.js'
import type { Member } from '../../src/fleet/membership.js'
import type { Entry } from '../../src/record/entry.js'
import type { Intent } from '../../src/rollout/intent.js'
import { blockerReasons, noStatus, phases, type StatusBody } from '../../src/rollout/status.js'
import { anyScope, intentOf, memberOf, nodeIdOf, running } from './rollouts.js'
import { model, rolloutEntry, startMs, statusEntry, type VerdictWorld } from './verdict-world.js'

/** What may happen to a world. */
export type Step = (world: VerdictWorld) => void

export const versions = [parseVersion('1.0.0'), parseVersion('1.1.0'), parseVersion('2.0.0')] as const
const version = fc.constantFrom(...versions)
const rolloutNumbers = [1, 2, 3, 4]

/** The bodies of statuses, aimed at any of the rollouts or at none. */
const anyBody: fc.Arbitrary<StatusBody> = fc
  .record({
    current: fc.option(version),
    target: fc.option(fc.constantFrom(...rolloutNumbers)),
    phase: fc.oneof(fc.constantFrom(...phases), fc.constant('downloading' as const)),
    reason: fc.option(fc.constantFrom(...blockerReasons))
  })
  .map(({ current, target, phase, reason }) => ({
    ...noStatus,
    phase,
    current: current === null ? null : running(current),
    target: target === null ? null : { rollout: intentOf(target).id, version: intentOf(target).version, variant: null },
    ...(reason === null ? {} : { blocker: { reason, since: 400, message: reason } })
  }))

/** Any intent for one of a few rollouts. */
export const anyIntent: fc.Arbitrary<Intent> = fc
  .record({
    number: fc.constantFrom(...rolloutNumbers),
    version,
    scope: anyScope,
    generation: fc.nat(2),
    pinned: fc.boolean()
  })
  .map(({ number, pinned, ...parts }) => {
    return intentOf(number, { ...parts, ...(pinned ? { variant: parseVariantId('other') } : {}) })
  })

/** What one of the nodes below `count` says. */
export function anyStatus(count: number): fc.Arbitrary<Entry<StatusBody>> {
  return fc.tuple(fc.nat(count - 1), anyBody, fc.nat(1000)).map((parts) => statusEntry(...parts))
}

/** Statuses come in batches; some go, alone or with others that come. */
function anyStatuses(count: number): fc.Arbitrary<Step> {
  const [came, went] = [fc.array(anyStatus(count), { maxLength: 3 }), fc.array(anyStatus(count), { maxLength: 1 })]
  return fc.tuple(came, went).map((batch) => (world) => world.statuses(...batch))
}

/** Intents and cancels come and go. */
const anyRolloutStep: fc.Arbitrary<Step> = fc
  .record({ intent: anyIntent, writer: fc.nat(2), act: fc.constantFrom('order', 'order', 'cancel', 'withdraw') })
  .map(({ intent, writer, act }) => (world) => {
    const control = act === 'cancel' ? { control: { action: 'cancel' as const, lamport: 1, issuedAt: 0 } } : {}
    const entry = rolloutEntry(writer, { intent, ...control })
    if (act === 'withdraw') world.rollouts([], [entry])
    else world.rollouts([entry])
  })

/** A member among the nodes below `count`, online or gone at or before the time at which worlds begin. */
export function anyMember(count: number): fc.Arbitrary<Member> {
  const draft = fc.record({
    number: fc.nat(count - 1),
    name: fc.constantFrom('anna', 'berta'),
    goneMs: fc.option(fc.integer({ min: -1000, max: 100_000 })),
    formations: fc.subarray(['north', 'south']),
    gpuMb: fc.option(fc.nat(8192), { nil: undefined })
  })
  return draft.map(({ number, name, goneMs, formations, gpuMb }) => {
    const presence = goneMs === null ? {} : { online: false, offlineSince: startMs - goneMs }
    const capabilities = gpuMb === undefined ? {} : { gpus: [{ name: 'GPU', memoryMb: gpuMb }] }
    return memberOf(number, { name, formations, capabilities, ...presence })
  })
}

/** Members come, change, go offline and away. */
function anyMembers(count: number): fc.Arbitrary<Step> {
  const change = fc.tuple(anyMember(count), fc.nat(9))
  return fc.array(change, { minLength: 1, maxLength: 3 }).map((drafts) => (world) => {
    const passedMs = world.clock.now() - startMs
    const changes = drafts.map(([member, chance]) => {
      const { nodeId, offlineSince } = member
      const since = offlineSince === undefined ? {} : { offlineSince: offlineSince + passedMs }
      return [nodeId, chance === 0 ? undefined : { ...member, ...since }] as const
    })
    world.membership.set(changes)
  })
}

/** A node tells how far it is, or is heard of no more. */
function anyTransfer(count: number): fc.Arbitrary<Step> {
  const progress = fc.record({
    version,
    haveBytes: fc.nat(1000),
    bytesPerSecond: fc.option(fc.nat(10), { nil: undefined, freq: 9 })
  })
  return fc.tuple(fc.nat(count - 1), fc.option(progress, { freq: 9 })).map(([number, draft]) => (world) => {
    if (draft === null) return world.transfer(number, undefined)
    const { haveBytes, bytesPerSecond } = draft
    world.transfer(number, { subject: `${model}@${draft.version}`, haveBytes, totalBytes: 1000, bytesPerSecond })
  })
}

/** Time goes on, or somebody sets the clock. */
const anyTime: fc.Arbitrary<Step> = fc
  .oneof(
    { weight: 9, arbitrary: fc.nat(40_000) },
    { weight: 1, arbitrary: fc.integer({ min: -100_000, max: 1_000_000 }) }
  )
  .map((ms) => (world) => (world.clock.wallMs += ms))

/** Anything that may happen among so many nodes. */
export function anyStep(count: number): fc.Arbitrary<Step> {
  return fc.oneof(
    { weight: 8, arbitrary: anyStatuses(count) },
    { weight: 1, arbitrary: anyRolloutStep },
    { weight: 5, arbitrary: anyMembers(count) },
    { weight: 3, arbitrary: anyTransfer(count) },
    { weight: 3, arbitrary: anyTime }
  )
}

const initialRollouts = versions.map((each, at) => rolloutEntry(0, { intent: intentOf(at + 1, { version: each }) }))

/** A world with so many members and one rollout of each version, as most are. */
export function populate(world: VerdictWorld, count: number): void {
  const numbers = Array.from({ length: count }, (_, number) => number)
  world.membership.set(numbers.map((number) => [nodeIdOf(number), memberOf(number)]))
  world.rollouts(initialRollouts)
}

/** The world before that; what was said meanwhile stays. */
export function unpopulate(world: VerdictWorld, count: number): void {
  world.membership.set(Array.from({ length: count }, (_, number) => [nodeIdOf(number), undefined]))
  world.rollouts([], initialRollouts)
}
