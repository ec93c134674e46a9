import { parsePageId, type NodeId, type PageId } from '../../src/core/ids.js'
import { bucketPage, isOwnBucket } from '../../src/record/bucket.js'
import type { PageKind } from '../../src/record/policy.js'
import { noteKind, stoneKind, type Note } from '../unit/record/fixtures.js'

/** Pages `state/<bucket>`: what each node says of itself, in the bucket of its id, as node and status pages are. */
export const stateKind: PageKind<Note> = {
  name: 'state',
  maxPagesPerWriter: 1,
  schema: noteKind.schema,
  isPage: (page) => /^state\/(?:[0-9]|[1-5][0-9]|6[0-3])$/.test(page),
  mayWrite: (page, writer) => isOwnBucket(page, 'state', writer)
}

/** Every kind of page of the simulation. */
export const kinds = [stateKind, noteKind, stoneKind] as const

/** Where a node writes of itself. */
export function statePage(writer: NodeId): PageId {
  return bucketPage('state', writer)
}

/** One of the few pages that all nodes write. */
export function sharedPage(number: number): PageId {
  return parsePageId(`note/${number}`)
}

/** A page whose first value stays. */
export function stonePage(number: number): PageId {
  return parsePageId(`stone/${number}`)
}

/** The kind of a page. */
export function kindOf(page: PageId): PageKind<Note> {
  return kinds.find(({ name }) => page.startsWith(`${name}/`)) ?? noteKind
}
