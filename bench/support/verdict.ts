/**
 * What a verdict costs on one node of a large fleet: after one event, and from nothing. The document is a stand-in that
 * hands verified entries to the real tracker, and so is membership: what they cost is measured where they are.
 */
import '../../src/core/polyfill.js'
import { createHash } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { cidOf } from '../../src/blobs/cid.js'
import { encode } from '../../src/core/codec.js'
import { systemEnvironment } from '../../src/core/environment.js'
import { silentLogger } from '../../src/core/logger.js'
import {
  parseModelId,
  parseNodeId,
  parseVariantId,
  parseVersion,
  rolloutIdFrom,
  type ModelId,
  type NodeId
} from '../../src/core/ids.js'
import type { Member } from '../../src/fleet/membership.js'
import type { Entry } from '../../src/record/entry.js'
import type { PageKind } from '../../src/record/policy.js'
import type { EntryListener } from '../../src/record/shared-document.js'
import { convergence, rolloutFor } from '../../src/rollout/convergence.js'
import { rolloutKind, rolloutPage, type Intent, type RolloutBody } from '../../src/rollout/intent.js'
import { advance, noStatus, statusKind, statusPage, type Phase, type StatusBody } from '../../src/rollout/status.js'
import { DeploymentTracker } from '../../src/rollout/tracker.js'
import { Verdicts } from '../../src/rollout/verdicts.js'
import { median, rounded } from './usage.js'

const offlineAfterMs = 60_000
const target = parseVersion('2.0.0')
const versions = [parseVersion('1.0.0'), target] as const
const release = cidOf(encode(target))
const variant = parseVariantId('any')
/** The way of a node from one version to the next, with a stop or two for want of space. */
const steps: readonly Phase[] = ['queued', 'queued', 'downloading', 'staged', 'loading', 'verifying', 'operational']

/** What was measured, each the median of many. */
export interface VerdictFigures {
  /** From an event to the verdict that counts it, us: two of three events are statuses, the others presence. */
  readonly eventToVerdictUs: number
  readonly statusUs: number
  readonly presenceUs: number
  /** The first question about a rollout, which looks at every member once, ms. */
  readonly fullMs: number
  /** The pure function over everything, ms. */
  readonly rescanMs: number
}

/** Measures verdicts over so many nodes and models; events go to nodes and models in turn, from the middle of a rollout. */
export function measureVerdict({ nodes, models }: { nodes: number; models: number }): VerdictFigures {
  const fleet = new Fleet(nodes, models)
  const [statusUs, presenceUs]: [number[], number[]] = [[], []]
  const [warmUp, measured] = [6000, 12_000]
  for (let event = 0; event < warmUp + measured; event += 1) {
    const isPresence = event % 3 === 2
    const us = timed(isPresence ? fleet.presenceEvent(event) : fleet.statusEvent(event)) * 1000
    if (event >= warmUp) (isPresence ? presenceUs : statusUs).push(us)
  }
  const full = Array.from({ length: 40 }, () => timed(fleet.freshQuestion()))
  const rescan = Array.from({ length: 40 }, () => timed(() => fleet.rescan()))
  return {
    eventToVerdictUs: rounded(median([...statusUs, ...presenceUs])),
    statusUs: rounded(median(statusUs)),
    presenceUs: rounded(median(presenceUs)),
    fullMs: rounded(median(full.slice(10))),
    rescanMs: rounded(median(rescan.slice(10)))
  }
}

/** How long it takes, ms. */
function timed(task: () => unknown): number {
  const begin = performance.now()
  task()
  return performance.now() - begin
}

/** One node's knowledge of a fleet in the middle of a rollout of each model. */
class Fleet {
  readonly #listeners = new Map<string, EntryListener<never>>()
  readonly #tracker = new DeploymentTracker(
    {
      register: () => {},
      subscribe: (kind, listener) => {
        this.#listeners.set(kind.name, listener)
        return () => {}
      },
      write: () => Promise.resolve(),
      digest: () => ''
    },
    silentLogger
  )
  readonly #members: Map<NodeId, Member>
  readonly #ids: readonly NodeId[]
  readonly #models: readonly ModelId[]
  readonly #membershipListeners: ((nodes: readonly NodeId[]) => void)[] = []
  readonly #verdicts: Verdicts

  constructor(nodes: number, models: number) {
    const members = Array.from({ length: nodes }, (_, number) => memberOf(number))
    members.sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
    this.#members = new Map(members.map((member) => [member.nodeId, member]))
    this.#ids = [...this.#members.keys()]
    this.#models = Array.from({ length: models }, (_, number) => parseModelId(`model-${number}`))
    for (const [number, model] of this.#models.entries()) {
      this.#tell(rolloutKind, [rolloutEntry(model, number)])
      this.#tell(
        statusKind,
        this.#ids.map((nodeId, at) => statusEntry(model, nodeId, number, at))
      )
    }
    this.#verdicts = this.#newVerdicts()
    for (const model of this.#models) this.#verdicts.read(model, target)
  }

  /** A node takes its next step; somebody watches. */
  statusEvent(event: number): () => unknown {
    const [nodeId, model] = [this.#node(event), this.#model(event)]
    const before = this.#tracker.status(model, nodeId)?.body ?? noStatus
    const at = steps.indexOf(before.phase) + (before.blocker === undefined && before.phase === 'queued' ? 2 : 1)
    const entry = statusEntry(model, nodeId, event % this.#models.length, at)
    return () => {
      this.#tell(statusKind, [entry])
      return this.#verdicts.read(model, target)
    }
  }

  /** A node goes away, or is back. */
  presenceEvent(event: number): () => unknown {
    const [nodeId, model] = [this.#node(event), this.#model(event)]
    const { offlineSince, ...member } = this.#members.get(nodeId) ?? memberOf(0)
    const now = systemEnvironment.clock.now()
    const gone =
      offlineSince === undefined
        ? ({ online: false, presence: 'failed', offlineSince: now } as const)
        : ({ online: true, presence: 'alive' } as const)
    return () => {
      this.#members.set(nodeId, { ...member, ...gone })
      for (const listener of this.#membershipListeners) listener([nodeId])
      return this.#verdicts.read(model, target)
    }
  }

  /** The first question after the rollouts of the model changed. */
  freshQuestion(): () => unknown {
    this.#tell(rolloutKind, [rolloutEntry(this.#model(0), 0)])
    return () => this.#verdicts.read(this.#model(0), target)
  }

  rescan(): unknown {
    const model = this.#model(0)
    const rollouts = this.#tracker.rolloutsOf(model)
    const rollout = rolloutFor(rollouts, target)
    if (rollout === undefined) throw new Error('The rollout is gone')
    const [members, statuses] = [[...this.#members.values()], this.#tracker.statusesOf(model)]
    const now = systemEnvironment.clock.now()
    const input = { rollout, rollouts, members, statuses, transfers: new Map(), now, offlineAfterMs, digest: '' }
    return convergence(input)
  }

  #newVerdicts(): Verdicts {
    const membership = {
      members: () => [...this.#members.values()],
      get: (nodeId: NodeId) => this.#members.get(nodeId),
      onChange: (listener: (nodes: readonly NodeId[]) => void) => {
        this.#membershipListeners.push(listener)
        return () => {}
      }
    }
    const pulses = { progressOf: () => undefined }
    return new Verdicts(
      { tracker: this.#tracker, membership, pulses, clock: systemEnvironment.clock },
      { offlineAfterMs }
    )
  }

  #tell<Body>(kind: PageKind<Body>, entries: readonly Entry<Body>[]): void {
    // Whoever subscribed to this kind listens for its bodies.
    const listener = this.#listeners.get(kind.name) as EntryListener<Body> | undefined
    listener?.(entries, [])
  }

  /** Nodes in an order that has nothing to do with that of their ids: 7919 is a prime. */
  #node(event: number): NodeId {
    return this.#ids[(event * 7919) % this.#ids.length] ?? parseNodeId('')
  }

  #model(event: number): ModelId {
    return this.#models[event % this.#models.length] ?? parseModelId('')
  }
}

const digits = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

function memberOf(number: number): Member {
  const hash = createHash('sha512').update(`${number}`).digest().subarray(0, 44)
  const nodeId = parseNodeId(`12D3KooW${Array.from(hash, (byte) => digits[byte % digits.length]).join('')}`)
  const presence =
    number % 20 === 0
      ? ({ online: false, presence: 'failed', offlineSince: 0 } as const)
      : ({ online: true, presence: 'alive' } as const)
  return { nodeId, name: `node-${number}`, capabilities: {}, formations: [], labels: {}, software: '', ...presence }
}

function intentOf(model: ModelId, number: number): Intent {
  const id = rolloutIdFrom(new Uint8Array(16).fill(number))
  const order = { generation: 1, lamport: 1, issuedAt: 0 }
  const rest = { kind: 'rollout', priority: 'normal', allowDowngrade: false, scope: { kind: 'all' } } as const
  return { id, model, version: target, release, ...rest, ...order }
}

function rolloutEntry(model: ModelId, number: number): Entry<RolloutBody> {
  const intent = intentOf(model, number)
  return { page: rolloutPage(intent.id), writer: memberOf(0).nodeId, epoch: 0, seq: 0, issuedAt: 0, body: { intent } }
}

/** A node at a step of its way; every seventh that waits lacks space. */
function statusEntry(model: ModelId, nodeId: NodeId, number: number, at: number): Entry<StatusBody> {
  const place = at % steps.length
  const phase = steps[place] ?? 'queued'
  const now = systemEnvironment.clock.now()
  const { id } = intentOf(model, number)
  const version = versions[phase === 'operational' ? 1 : 0]
  const blocker = {
    reason: 'insufficientStorage',
    message: 'short of space',
    required: 9,
    available: 4,
    unit: 'MiB'
  } as const
  const body = advance(
    noStatus,
    {
      phase,
      current: { version, variant, release: phase === 'operational' ? release : cidOf(encode(version)) },
      target: { rollout: id, version: target, variant },
      ...(place === 0 ? { blocker } : {})
    },
    now
  )
  return { page: statusPage(model, nodeId), writer: nodeId, epoch: 0, seq: 0, issuedAt: now, body }
}
