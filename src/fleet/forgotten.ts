/**
 * Which nodes are gone for good, as members said: a node that was thrown away must not block every verdict for ever.
 *
 * Goals: the same answer wherever the document is the same; a node that is alive after all is back by itself.
 * Non-goals: keeping a node out. That is what revoking its key is for.
 *
 * An item names the description that it speaks of by its place (epoch, seq), and holds for that one alone. So a newer
 * description undoes it, and one that names what was never written, by mistake or ill will, does nothing.
 */
import { z } from 'zod'
import type { NodeId, PageId } from '../core/ids.js'
import { parseNodeId } from '../core/ids.js'
import { bucketPage, isOwnBucket } from '../record/bucket.js'
import type { Entry } from '../record/entry.js'
import type { PageKind } from '../record/policy.js'

/** Most nodes on one member's list. 1000 items take about 85 KiB; an entry may have 128 KiB. */
export const maxForgotten = 1000

/** A node, and the description of it that no longer counts. */
export interface ForgottenItem {
  readonly node: NodeId
  /** Of the entry on the node's page. */
  readonly epoch: number
  readonly seq: number
}

/** All that a member has forgotten. */
export interface ForgottenList {
  readonly forgotten: readonly ForgottenItem[]
}

const itemSchema = z.strictObject({
  node: z.string().transform(parseNodeId),
  epoch: z.int().nonnegative(),
  seq: z.int().nonnegative()
})
const listSchema: z.ZodType<ForgottenList> = z.strictObject({
  forgotten: z
    .array(itemSchema)
    .max(maxForgotten)
    .refine((items) => new Set(items.map(({ node }) => node)).size === items.length, 'a node is named twice')
})

/** Pages `forgotten/<bucket>`: every operator's own list, in its own bucket; nobody forgets itself. */
export const forgottenKind: PageKind<ForgottenList> = {
  name: 'forgotten',
  role: 'operator',
  schema: listSchema,
  maxPagesPerWriter: 1,
  isPage: (page) => /^forgotten\/\d{1,2}$/.test(page),
  mayWrite: (page, writer, { forgotten }) =>
    isOwnBucket(page, 'forgotten', writer) && forgotten.every(({ node }) => node !== writer)
}

/** The page of a member's list. */
export function forgottenPage(writer: NodeId): PageId {
  return bucketPage('forgotten', writer)
}

/** All lists, by the node that they name. */
export class ForgottenIndex {
  readonly #lists = new Map<NodeId, readonly ForgottenItem[]>()
  readonly #byNode = new Map<NodeId, Map<NodeId, ForgottenItem>>()

  /** Takes lists that are new, and says which nodes they or their predecessors name. */
  learn(entries: readonly Pick<Entry<ForgottenList>, 'writer' | 'body'>[]): ReadonlySet<NodeId> {
    const named = new Set<NodeId>()
    for (const { writer, body } of entries) {
      for (const { node } of this.#lists.get(writer) ?? []) {
        named.add(node)
        this.#drop(node, writer)
      }
      this.#lists.set(writer, body.forgotten)
      for (const item of body.forgotten) {
        named.add(item.node)
        this.#add(writer, item)
      }
    }
    return named
  }

  /** Whether some member has forgotten this very description. */
  covers({ writer, epoch, seq }: Pick<Entry, 'writer' | 'epoch' | 'seq'>): boolean {
    const items = this.#byNode.get(writer)?.values() ?? []
    return Array.from(items).some((item) => item.epoch === epoch && item.seq === seq)
  }

  /** A member's list. */
  listOf(writer: NodeId): readonly ForgottenItem[] {
    return this.#lists.get(writer) ?? []
  }

  #add(writer: NodeId, item: ForgottenItem): void {
    const items = this.#byNode.get(item.node) ?? new Map<NodeId, ForgottenItem>()
    this.#byNode.set(item.node, items.set(writer, item))
  }

  #drop(node: NodeId, writer: NodeId): void {
    const items = this.#byNode.get(node)
    items?.delete(writer)
    if (items?.size === 0) this.#byNode.delete(node)
  }
}
