import '../../src/core/polyfill.js'
import fc from 'fast-check'
import { encode } from '../../src/core/codec.js'
import {
  parseModelId,
  parseNodeId,
  parseVariantId,
  parseVersion,
  rolloutIdFrom,
  type NodeId
} from '../../src/core/ids.js'
import { cidOf } from '../../src/blobs/cid.js'
import type { Member } from '../../src/fleet/membership.js'
import type { DistributionScope } from '../../src/models/scope.js'
import type { ConvergenceInput } from '../../src/rollout/convergence.js'
import type { Intent, Rollout } from '../../src/rollout/intent.js'
import { blockerReasons, noStatus, phases, type ObservedStatus, type StatusBody } from '../../src/rollout/status.js'

const digits = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

/** A well-formed node id for each number. */
export function nodeIdOf(number: number): NodeId {
  return parseNodeId(`12D3KooW${digits.charAt(number % digits.length).repeat(44)}`)
}

export const releaseOf = (version: string): ReturnType<typeof cidOf> => cidOf(encode(version))
const variant = parseVariantId('any')

/** An intent for version 1.0.0 of the model, on all nodes, unless told otherwise. */
export function intentOf(number: number, parts: Partial<Intent> = {}): Intent {
  const version = parts.version ?? parseVersion('1.0.0')
  return {
    id: rolloutIdFrom(new Uint8Array(16).fill(number)),
    kind: 'rollout',
    model: parseModelId('detector'),
    version,
    release: releaseOf(version),
    scope: { kind: 'all' },
    priority: 'normal',
    allowDowngrade: false,
    generation: 1,
    lamport: 1,
    issuedAt: 0,
    ...parts
  }
}

/** A rollout issued by node 0. */
export function rolloutOf(intent: Intent, cancelled = false): Rollout {
  return { intent, issuer: nodeIdOf(0), cancelled }
}

/** A member that is online and in no formation, unless told otherwise. */
export function memberOf(number: number, parts: Partial<Member> = {}): Member {
  const name = `node-${number}`
  const own = { capabilities: {}, formations: [], labels: {}, software: 'test' }
  const presence = parts.online === false ? 'failed' : 'alive'
  return { nodeId: nodeIdOf(number), name, ...own, online: true, presence, ...parts }
}

/** A status as it was heard. */
export function observed(number: number, body: Partial<StatusBody>): ObservedStatus {
  return { nodeId: nodeIdOf(number), updatedAt: 500 + number, body: { ...noStatus, ...body } }
}

/** What runs when a version does. */
export const running = (version: string): NonNullable<StatusBody['current']> => {
  return { version: parseVersion(version), variant, release: releaseOf(version) }
}

/** All that a verdict depends on; nothing is blocked by the network before 60 s. */
export function inputOf(rollouts: readonly Rollout[], parts: Partial<ConvergenceInput>): ConvergenceInput {
  const [rollout] = rollouts
  if (rollout === undefined) throw new Error('A verdict is about a rollout')
  return {
    rollout,
    rollouts,
    members: [],
    statuses: new Map(),
    transfers: new Map(),
    now: 1_000_000,
    offlineAfterMs: 60_000,
    digest: 'digest',
    ...parts
  }
}

const versions = ['1.0.0', '1.1.0', '2.0.0'] as const
const version = fc.constantFrom(...versions).map(parseVersion)

/** Any scope over nodes 0 to 9. */
export const anyScope: fc.Arbitrary<DistributionScope> = fc.oneof(
  fc.constant<DistributionScope>({ kind: 'all' }),
  fc.constantFrom('north', 'south').map((formation): DistributionScope => ({ kind: 'formation', formation })),
  fc.array(fc.nat(9)).map((numbers): DistributionScope => ({ kind: 'nodes', nodes: numbers.map(nodeIdOf) })),
  fc.nat(4).map((minGpuGb): DistributionScope => ({ kind: 'capable', minGpuGb }))
)

/** Any rollouts, with ids of their own; orders collide often. */
export const anyRollouts: fc.Arbitrary<Rollout[]> = fc
  .uniqueArray(
    fc.record({
      number: fc.nat(200),
      version,
      scope: anyScope,
      generation: fc.nat(2),
      lamport: fc.nat(2),
      pinned: fc.boolean(),
      cancelled: fc.boolean()
    }),
    { selector: ({ number }) => number, minLength: 1, maxLength: 6 }
  )
  .map((drafts) =>
    drafts.map(({ number, pinned, cancelled, ...parts }) =>
      rolloutOf(intentOf(number, { ...parts, ...(pinned ? { variant: parseVariantId('other') } : {}) }), cancelled)
    )
  )

/** Any members among nodes 0 to 9. */
export const anyMembers: fc.Arbitrary<Member[]> = fc
  .uniqueArray(
    fc.record({
      number: fc.nat(9),
      online: fc.boolean(),
      goneMs: fc.nat(200_000),
      formations: fc.subarray(['north', 'south']),
      gpuMb: fc.option(fc.nat(8192), { nil: undefined })
    }),
    { selector: ({ number }) => number }
  )
  .map((drafts) =>
    drafts.map(({ number, online, goneMs, formations, gpuMb }) =>
      memberOf(number, {
        online,
        formations,
        ...(online ? {} : { offlineSince: 1_000_000 - goneMs }),
        capabilities: gpuMb === undefined ? {} : { gpus: [{ name: 'GPU', memoryMb: gpuMb }] }
      })
    )
  )

/** Any statuses of nodes 0 to 9, aimed at any of the rollouts or at none. */
export function anyStatuses(rollouts: readonly Rollout[]): fc.Arbitrary<Map<NodeId, ObservedStatus>> {
  const draft = fc.record({
    number: fc.nat(9),
    current: fc.option(version),
    target: fc.option(fc.nat(rollouts.length - 1)),
    phase: fc.constantFrom(...phases),
    reason: fc.option(fc.constantFrom(...blockerReasons))
  })
  return fc.uniqueArray(draft, { selector: ({ number }) => number }).map((drafts) => {
    const statuses = drafts.map(({ number, current, target, phase, reason }) => {
      const intent = target === null ? undefined : rollouts[target]?.intent
      return observed(number, {
        phase,
        current: current === null ? null : running(current),
        target: intent === undefined ? null : { rollout: intent.id, version: intent.version, variant: null },
        ...(reason === null ? {} : { blocker: { reason, since: 400, message: reason } })
      })
    })
    return new Map(statuses.map((status) => [status.nodeId, status]))
  })
}
