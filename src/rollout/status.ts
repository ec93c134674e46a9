import { z } from 'zod'
import {
  parseCid,
  parseNodeId,
  parseRolloutId,
  parseVariantId,
  parseVersion,
  type ModelId,
  type NodeId,
  type PageId
} from '../core/ids.js'
import type { Entry } from '../record/entry.js'
import { bucketPage, isOwnBucket } from '../record/bucket.js'
import type { PageKind } from '../record/policy.js'

/** Where a node stands with a model: the steps towards a version, and what may come after. */
export type Phase =
  | 'notDeployed'
  | 'queued'
  | 'downloading'
  | 'staged'
  | 'loading'
  | 'verifying'
  | 'operational'
  | 'degraded'
  | 'failed'
  | 'rolledBack'
  | 'paused'
  | 'unloading'

/** All phases. */
export const phases: readonly Phase[] = [
  'notDeployed',
  'queued',
  'downloading',
  'staged',
  'loading',
  'verifying',
  'operational',
  'degraded',
  'failed',
  'rolledBack',
  'paused',
  'unloading'
]

/** Why a node does not converge (features A12). */
export type BlockerReason =
  | 'networkPartition'
  | 'insufficientStorage'
  | 'insufficientGpuMemory'
  | 'transferFailed'
  | 'deploymentFailed'
  | 'incompatibleCapabilities'
  | 'nodeBusy'
  | 'unknown'

/** All reasons. */
export const blockerReasons: readonly BlockerReason[] = [
  'networkPartition',
  'insufficientStorage',
  'insufficientGpuMemory',
  'transferFailed',
  'deploymentFailed',
  'incompatibleCapabilities',
  'nodeBusy',
  'unknown'
]

const time = z.int().nonnegative()
const amount = z.number().nonnegative().finite()

/** Longer messages are cut, so that no runtime's error can keep a status from being written. */
const maxMessageLength = 500

/** A blocker as the node that has it writes it. */
export interface StatusBlocker {
  readonly reason: BlockerReason
  /** When this reason was first seen, ms since 1970 on the node's clock; kept while the reason stays. */
  readonly since: number
  /** One sentence with what and why. */
  readonly message: string
  /** What is needed and what there is, in `unit`; absent where the reason is not an amount, or it is unknown. */
  readonly required?: number | undefined
  readonly available?: number | undefined
  readonly unit?: 'MiB' | 'bytes' | undefined
}

const blockerSchema: z.ZodType<StatusBlocker> = z.object({
  reason: z.enum(blockerReasons),
  since: time,
  message: z.string().max(maxMessageLength),
  required: amount.optional(),
  available: amount.optional(),
  unit: z.enum(['MiB', 'bytes']).optional()
})

/** How a version's bytes came to a node. */
export interface TransferSummary {
  readonly totalBytes: number
  /** Bytes that came over the network. */
  readonly receivedBytes: number
  /** Bytes copied from files that were here already. */
  readonly reusedBytes: number
  /** Bytes that an earlier, interrupted attempt had already fetched. */
  readonly resumedBytes: number
  readonly seconds: number
  /** Who sent how many bytes, the most first, at most 8. */
  readonly sources: readonly (readonly [peer: NodeId, bytes: number])[]
}

const transferSchema: z.ZodType<TransferSummary> = z.object({
  totalBytes: amount,
  receivedBytes: amount,
  reusedBytes: amount,
  resumedBytes: amount,
  seconds: amount,
  sources: z.array(z.tuple([z.string().transform(parseNodeId), amount])).max(8)
})

const version = z.string().transform(parseVersion)
const variant = z.string().transform(parseVariantId)
const historyLength = 8
/** As many versions as a node can be told to keep. */
export const maxKeptVersions = 32

const statusSchema = z.object({
  /** What runs. Does not change until a new version has passed its check. */
  current: z.object({ version, variant, release: z.string().transform(parseCid) }).nullable(),
  /** What should run, by the rollout that counts here. */
  target: z.object({ rollout: z.string().transform(parseRolloutId), version, variant: variant.nullable() }).nullable(),
  phase: z.enum(phases),
  blocker: blockerSchema.optional(),
  /** How often this rollout was tried here. */
  attempt: z.int().nonnegative(),
  /** When the phase began, ms since 1970 on the node's clock. */
  since: time,
  transfer: transferSchema.optional(),
  /** The last changes of phase, oldest first. */
  history: z.array(z.object({ phase: z.enum(phases), version: version.nullable(), at: time })).max(historyLength),
  /** The versions that ran, the last one first: not from the history, which a few failed transfers fill. */
  ran: z.array(version).max(maxKeptVersions).default([])
})

/** What a node says of itself and a model. */
export type StatusBody = z.infer<typeof statusSchema>

/** Pages `status/<model>/<bucket>`: every member its own key, in its own bucket. */
export const statusKind: PageKind<StatusBody> = {
  name: 'status',
  schema: statusSchema,
  maxPagesPerWriter: 1024,
  isPage: (page) => /^status\/[^/]+\/\d{1,2}$/.test(page),
  mayWrite: (page, writer) => isOwnBucket(page, page.slice(0, page.lastIndexOf('/')), writer)
}

/** The page where a node tells of a model. */
export function statusPage(model: ModelId, nodeId: NodeId): PageId {
  return bucketPage(`status/${model}`, nodeId)
}

/** The status of a node that has never said anything of a model. */
export const noStatus: StatusBody = Object.freeze({
  current: null,
  target: null,
  phase: 'notDeployed',
  attempt: 0,
  since: 0,
  history: [],
  ran: []
})

/** What changes with a step; a blocker that is not given is gone, everything else that is not given stays. */
export interface StatusChange {
  readonly phase: Phase
  readonly blocker?: Omit<StatusBlocker, 'since'>
  readonly current?: StatusBody['current']
  readonly target?: StatusBody['target']
  readonly attempt?: number
  readonly transfer?: TransferSummary
}

/** The next status. `since` of a blocker stays while its reason does; a phase that stays adds nothing to the history. */
export function advance(before: StatusBody, change: StatusChange, clockMs: number): StatusBody {
  const now = Math.max(0, Math.floor(clockMs))
  const { blocker, ...kept } = before
  const target = change.target === undefined ? before.target : change.target
  const isNewPhase = before.phase !== change.phase || before.target?.rollout !== target?.rollout
  const current = change.current === undefined ? before.current : change.current
  const version = change.phase === 'operational' ? current?.version : target?.version
  const step = { phase: change.phase, version: version ?? null, at: now }
  return {
    ...kept,
    current,
    ...(change.attempt === undefined ? {} : { attempt: change.attempt }),
    ...(change.transfer === undefined ? {} : { transfer: change.transfer }),
    ...(change.blocker === undefined ? {} : { blocker: nextBlocker(blocker, change.blocker, now) }),
    target,
    phase: change.phase,
    since: isNewPhase ? now : before.since,
    history: isNewPhase ? [...before.history, step].slice(-historyLength) : before.history,
    ran: [...new Set([...(current === null ? [] : [current.version]), ...before.ran])].slice(0, maxKeptVersions)
  }
}

function nextBlocker(
  before: StatusBlocker | undefined,
  blocker: NonNullable<StatusChange['blocker']>,
  now: number
): StatusBlocker {
  const since = before?.reason === blocker.reason ? before.since : now
  return { ...blocker, message: blocker.message.slice(0, maxMessageLength), since }
}

/** A status with whose it is and when it was written. */
export interface ObservedStatus {
  readonly nodeId: NodeId
  readonly body: StatusBody
  /** The writer's wall clock, ms since 1970; advisory. */
  readonly updatedAt: number
}

/** Nodes whose status of a model changed. */
export type NodesByModel = ReadonlyMap<ModelId, readonly NodeId[]>

/** Statuses by model and node, kept up to date from the document's entries. */
export class StatusIndex {
  readonly #byModel = new Map<ModelId, Map<NodeId, ObservedStatus>>()

  /** Takes new entries; returns the nodes that they are of, by model. */
  learn(entries: readonly Entry<StatusBody>[]): NodesByModel {
    for (const { page, writer, body, issuedAt } of entries) {
      const model = modelOf(page)
      const statuses = this.#byModel.get(model) ?? new Map<NodeId, ObservedStatus>()
      this.#byModel.set(model, statuses.set(writer, { nodeId: writer, body, updatedAt: issuedAt }))
    }
    return nodesByModel(entries)
  }

  /** Drops entries that left the document: what they said is said no more. Returns the nodes that they were of, by model. */
  forget(entries: readonly Entry<StatusBody>[]): NodesByModel {
    for (const { page, writer } of entries) {
      const model = modelOf(page)
      const statuses = this.#byModel.get(model)
      statuses?.delete(writer)
      if (statuses?.size === 0) this.#byModel.delete(model)
    }
    return nodesByModel(entries)
  }

  /** All statuses of a model. */
  of(model: ModelId): ReadonlyMap<NodeId, ObservedStatus> {
    return this.#byModel.get(model) ?? new Map<NodeId, ObservedStatus>()
  }

  /** One node's status. */
  get(model: ModelId, nodeId: NodeId): ObservedStatus | undefined {
    return this.#byModel.get(model)?.get(nodeId)
  }
}

/** The page kind has checked the form: status/<model>/<bucket>. */
function modelOf(page: PageId): ModelId {
  return page.split('/')[1] as ModelId
}

function nodesByModel(entries: readonly Entry<StatusBody>[]): NodesByModel {
  const nodes = new Map<ModelId, NodeId[]>()
  for (const { page, writer } of entries) {
    const model = modelOf(page)
    const ofModel = nodes.get(model)
    if (ofModel === undefined) nodes.set(model, [writer])
    else ofModel.push(writer)
  }
  return nodes
}
