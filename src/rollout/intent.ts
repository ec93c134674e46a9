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

/** How urgent a rollout's bytes are: on a node the most urgent transfer begins first (features A40). */
export type TransferPriority = 'critical' | 'high' | 'normal' | 'low'

/** All priorities, the most urgent first. */
export const transferPriorities: readonly TransferPriority[] = ['critical', 'high', 'normal', 'low']

const intentSchema = z.strictObject({
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
    .strictObject({
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
  role: 'operator',
  schema: rolloutSchema,
  maxPagesPerWriter: 4096,
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

/** All rollouts by model: at any time a function of the document's present entries, in whatever order they came. */
export class RolloutIndex {
  readonly #bodies = new Map<PageId, Map<NodeId, RolloutBody>>()
  readonly #rollouts = new Map<PageId, Rollout>()
  readonly #byModel = new Map<ModelId, Map<PageId, Rollout>>()
  #lamport = 0

  /** Takes new entries; returns the models that they concern. */
  learn(entries: readonly Entry<RolloutBody>[]): Set<ModelId> {
    const models = new Set<ModelId>()
    for (const { page, writer, body } of entries) {
      this.#lamport = Math.max(this.#lamport, body.intent?.lamport ?? 0, body.control?.lamport ?? 0)
      const bodies = this.#bodies.get(page) ?? new Map<NodeId, RolloutBody>()
      this.#bodies.set(page, bodies.set(writer, body))
      for (const rollout of this.#replace(page, rolloutOf(bodies))) models.add(rollout.intent.model)
    }
    return models
  }

  /**
   * Drops entries that left the document: an intent whose issuer may not give any more is none, nor is a cancel. Returns the
   * models that they concern.
   */
  forget(entries: readonly Entry<RolloutBody>[]): Set<ModelId> {
    const models = new Set<ModelId>()
    for (const { page, writer } of entries) {
      const bodies = this.#bodies.get(page)
      if (bodies?.delete(writer) !== true) continue
      if (bodies.size === 0) this.#bodies.delete(page)
      for (const rollout of this.#replace(page, rolloutOf(bodies))) models.add(rollout.intent.model)
    }
    return models
  }

  /** The rollouts of a model, in no particular order. */
  of(model: ModelId): Rollout[] {
    return [...(this.#byModel.get(model)?.values() ?? [])]
  }

  /** One rollout. */
  get(id: RolloutId): Rollout | undefined {
    return this.#rollouts.get(rolloutPage(id))
  }

  /** All models that have a rollout. */
  models(): ModelId[] {
    return [...this.#byModel.keys()]
  }

  /** The order numbers of the next intent for a model, above all known ones and above those handed out before. */
  next(model: ModelId): { readonly generation: number; readonly lamport: number } {
    const generation = this.of(model).reduce((highest, { intent }) => Math.max(highest, intent.generation), 0) + 1
    this.#lamport += 1
    return { generation, lamport: this.#lamport }
  }

  /** Puts a page's rollout in place of the one before; returns both. */
  #replace(page: PageId, rollout: Rollout | undefined): Rollout[] {
    const before = this.#rollouts.get(page)
    if (before !== undefined) this.#remove(page, before.intent.model)
    if (rollout === undefined) this.#rollouts.delete(page)
    else {
      this.#rollouts.set(page, rollout)
      const ofModel = this.#byModel.get(rollout.intent.model) ?? new Map<PageId, Rollout>()
      this.#byModel.set(rollout.intent.model, ofModel.set(page, rollout))
    }
    return [before, rollout].flatMap((known) => known ?? [])
  }

  #remove(page: PageId, model: ModelId): void {
    const ofModel = this.#byModel.get(model)
    ofModel?.delete(page)
    if (ofModel?.size === 0) this.#byModel.delete(model)
  }
}

/** What a page says: of several issuers of one id the lowest counts, and anyone's cancel. */
function rolloutOf(bodies: ReadonlyMap<NodeId, RolloutBody>): Rollout | undefined {
  let rollout: Rollout | undefined
  for (const [issuer, { intent }] of bodies) {
    if (intent === undefined || (rollout !== undefined && rollout.issuer < issuer)) continue
    rollout = { intent, issuer, cancelled: false }
  }
  const cancelled = [...bodies.values()].some(({ control }) => control?.action === 'cancel')
  return rollout === undefined ? undefined : { ...rollout, cancelled }
}
