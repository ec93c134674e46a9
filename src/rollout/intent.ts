import { z } from 'zod'
import {
  parseCid,
  parseModelId,
  parsePageId,
  parseRolloutId,
  parseVariantId,
  parseVersion,
  type ModelId,
  type NodeId,
  type PageId,
  type RolloutId
} from '../core/ids.js'
import type { Member } from '../fleet/membership.js'
import { exclusion, scopeSchema } from '../models/scope.js'
import type { Entry } from '../record/entry.js'
import type { PageKind } from '../record/policy.js'

const counter = z.int().nonnegative()
const text = z.string().min(1).max(64)

/** `low` may wait for a quiet hour; a higher priority is served first and may pre-empt a lower one (features A40). */
export const transferPriorities = ['critical', 'high', 'normal', 'low'] as const
/** How urgent a rollout's bytes are. */
export type TransferPriority = (typeof transferPriorities)[number]

const intentSchema = z.object({
  id: z.string().transform(parseRolloutId),
  kind: z.enum(['rollout', 'rollback']),
  model: z.string().transform(parseModelId),
  version: z.string().transform(parseVersion),
  /** The release by content, so that a version string alone never decides which bytes run. */
  release: z.string().transform(parseCid),
  scope: scopeSchema,
  priority: z.enum(transferPriorities),
  /** Pins one variant; absent: each node chooses. */
  variant: z.string().transform(parseVariantId).optional(),
  selector: z
    .object({
      preferredPrecision: text.optional(),
      requiredProviders: z.array(text).max(32).optional(),
      maxSizeBytes: counter.optional()
    })
    .optional(),
  /** The version that the operator expects the nodes to run; chunks are reused from any local file all the same. */
  base: z.string().transform(parseVersion).optional(),
  allowDowngrade: z.boolean(),
  /** One above the highest that the issuer had seen for this model. */
  generation: counter,
  lamport: counter,
  /** The issuer's wall clock, ms since 1970; advisory. */
  issuedAt: counter
})

/** An operator's signed wish: this release, on these nodes. */
export type Intent = z.infer<typeof intentSchema>

const rolloutSchema = z.object({
  intent: intentSchema.optional(),
  control: z.object({ action: z.enum(['cancel']), lamport: counter, issuedAt: counter }).optional()
})

/** What one operator has to say about a rollout: the intent, if it issued it, and its latest control. */
export type RolloutBody = z.infer<typeof rolloutSchema>

/** Pages `rollout/<id>`. */
export const rolloutKind: PageKind<RolloutBody> = {
  name: 'rollout',
  schema: rolloutSchema,
  isPage: (page) => page.split('/').length === 2,
  mayWrite: (page, _writer, body) => body.intent === undefined || page === rolloutPage(body.intent.id)
}

/** The page of a rollout. */
export function rolloutPage(id: RolloutId): PageId {
  return parsePageId(`rollout/${id}`)
}

/** An intent with who issued it and what became of it. */
export interface Rollout {
  readonly intent: Intent
  readonly issuer: NodeId
  readonly cancelled: boolean
}

/** Whether `a` counts before `b`: the higher generation, then Lamport clock, then id. A total order, the same everywhere. */
export function precedes(a: Intent, b: Intent): boolean {
  if (a.generation !== b.generation) return a.generation > b.generation
  if (a.lamport !== b.lamport) return a.lamport > b.lamport
  return a.id > b.id
}

/** The rollout that decides what a member runs of a model: the first in order whose scope it is in, cancelled or not. */
export function winningRollout(rollouts: Iterable<Rollout>, member: Member): Rollout | undefined {
  let winner: Rollout | undefined
  for (const rollout of rollouts) {
    if (exclusion(rollout.intent.scope, member) !== undefined) continue
    if (winner === undefined || precedes(rollout.intent, winner.intent)) winner = rollout
  }
  return winner
}

/** All rollouts by model, kept up to date from the document's entries. */
export class RolloutIndex {
  readonly #rollouts = new Map<RolloutId, Rollout>()
  readonly #byModel = new Map<ModelId, Set<RolloutId>>()
  readonly #cancelledEarly = new Set<PageId>()
  #lamport = 0

  /** Takes new entries; returns the models that they concern. */
  learn(entries: readonly Entry<RolloutBody>[]): Set<ModelId> {
    const models = new Set<ModelId>()
    for (const { page, writer, body } of entries) {
      this.#lamport = Math.max(this.#lamport, body.intent?.lamport ?? 0, body.control?.lamport ?? 0)
      if (body.intent !== undefined) this.#add(body.intent, writer)
      if (body.control?.action === 'cancel') this.#cancelledEarly.add(page)
      const rollout = this.#rollouts.get(page.slice('rollout/'.length) as RolloutId)
      if (rollout === undefined) continue
      this.#rollouts.set(rollout.intent.id, { ...rollout, cancelled: this.#cancelledEarly.has(page) })
      models.add(rollout.intent.model)
    }
    return models
  }

  /** The rollouts of a model, in no particular order. */
  of(model: ModelId): Rollout[] {
    return [...(this.#byModel.get(model) ?? [])].flatMap((id) => this.#rollouts.get(id) ?? [])
  }

  /** One rollout. */
  get(id: RolloutId): Rollout | undefined {
    return this.#rollouts.get(id)
  }

  /** All models that have a rollout. */
  models(): ModelId[] {
    return [...this.#byModel.keys()]
  }

  /** The order numbers of the next intent for a model. */
  next(model: ModelId): { readonly generation: number; readonly lamport: number } {
    const generation = Math.max(0, ...this.of(model).map(({ intent }) => intent.generation)) + 1
    return { generation, lamport: this.#lamport + 1 }
  }

  /** An intent never changes: the first that was seen of a rollout stays, and of two issuers the lower id. */
  #add(intent: Intent, issuer: NodeId): void {
    const known = this.#rollouts.get(intent.id)
    if (known !== undefined && known.issuer <= issuer) return
    this.#rollouts.set(intent.id, { intent, issuer, cancelled: false })
    const ids = this.#byModel.get(intent.model) ?? new Set()
    this.#byModel.set(intent.model, ids.add(intent.id))
  }
}
