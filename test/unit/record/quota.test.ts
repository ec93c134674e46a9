import { beforeAll, expect, test } from 'vitest'
import { silentLogger } from '../../../src/core/logger.js'
import { parsePageId, type NodeId, type PageId } from '../../../src/core/ids.js'
import { openAuthority } from '../../../src/identity/authority.js'
import type { KeyPair } from '../../../src/identity/keypair.js'
import { SignatureVerifier } from '../../../src/identity/signature.js'
import { clientIdOf, type Entry } from '../../../src/record/entry.js'
import { Policy, type PageKind } from '../../../src/record/policy.js'
import { PageStore } from '../../../src/record/store.js'
import { cellKind, chainOf, keyPairOf, makeStore, updateOf } from './fixtures.js'
import { deaf, emptyDisk, virtualMesh, type NodeOptions, type RecordNode } from './mesh.js'
import { writeUpdate } from '../../../src/record/yjs-update.js'

const max = cellKind.maxPagesPerWriter
const options: NodeOptions = { kinds: [cellKind] }
let pair: KeyPair
/** Twice as many pages as one writer may have, those that stay first. */
let pages: PageId[]

beforeAll(async () => {
  pair = await keyPairOf(0)
  const rank = (page: PageId): number => clientIdOf(page, pair.nodeId)
  pages = Array.from({ length: 2 * max }, (_, number) => parsePageId(`cell/${number}`)).sort(
    (a, b) => rank(a) - rank(b)
  )
})

const cellOf = (page: PageId, seq = 0): { page: PageId; update: Uint8Array } => ({
  page,
  update: updateOf(pair, { page, seq })
})
const pagesOf = (store: PageStore): string[] => Array.from(store.pages(), ({ id }) => id).sort()
const names = (entries: readonly Entry[]): string[] => entries.map(({ page }) => page).sort()
const low = (): PageId[] => pages.slice(0, max)
const high = (): PageId[] => pages.slice(max)
const cellsOf = (node: RecordNode): string[] => names([...node.document.all(cellKind)])
const writeCell = (node: RecordNode, page: PageId): Promise<void> => node.document.write(cellKind, page, { text: page })

test('[REC-90] of more pages than a writer may have the same ones stay in any order, and an update of one that left does not bring it back', () => {
  for (const order of [pages, pages.toReversed(), [...high(), ...low()]]) {
    const store = makeStore()
    for (const page of order) store.ingest([cellOf(page)])
    expect(pagesOf(store)).toEqual(low().toSorted())
    for (const page of pages) store.ingest([cellOf(page, 3)])
    expect(pagesOf(store)).toEqual(low().toSorted())
  }
})

test('[REC-90] a quota is that of one writer and one kind', async () => {
  const [store, other] = [makeStore(), await keyPairOf(1)]
  for (const page of pages) store.ingest([cellOf(page)])
  for (const page of high()) store.ingest([{ page, update: updateOf(other, { page }) }])
  for (const number of pages.keys()) {
    const page = parsePageId(`note/${number}`)
    store.ingest([{ page, update: updateOf(pair, { page }) }])
  }
  expect(pagesOf(store)).toHaveLength(max + max + 2 * max)
})

test('[REC-91] what has no room is declined and blames nobody; what leaves for a lower page is told as removed, once', () => {
  const store = makeStore()
  for (const page of high()) expect(store.ingest([cellOf(page)]).removed).toEqual([])
  const [lowest] = pages
  const came = store.ingest([cellOf(lowest ?? expect.unreachable())])
  expect([came.updates.length, came.declined, came.refusals]).toEqual([1, [], []])
  expect(names(came.removed)).toEqual([pages.at(-1)])
  const late = store.ingest([cellOf(pages.at(-1) ?? expect.unreachable())])
  expect([late.entries, late.removed, late.updates, late.refusals]).toEqual([[], [], [], []])
  expect(late.declined).toMatchObject([{ page: pages.at(-1), writer: pair.nodeId, isSurplus: true }])
})

test('[REC-91] listeners hear of nothing that came and left within one batch', async () => {
  const store = makeStore()
  const { entries } = await store.ingestBatch(pages.toReversed().map((page) => cellOf(page)))
  expect(names(entries)).toEqual(low().toSorted())
})

test('[REC-92] who lost all rights and gets them back begins to count anew', () => {
  const out = new Set<NodeId>()
  const policy = new Policy({ ...openAuthority, isMember: (nodeId) => !out.has(nodeId) })
  policy.register(cellKind as PageKind)
  const store = new PageStore(policy, new SignatureVerifier(), silentLogger)
  for (const page of pages) store.ingest([cellOf(page)])
  out.add(pair.nodeId)
  expect(names(store.revise())).toEqual(low().toSorted())
  out.clear()
  for (const page of high()) store.ingest([cellOf(page)])
  expect(pagesOf(store)).toEqual(high().toSorted())
})

test('[REC-92] entries that leave by another fleet root while a batch is verified are not told as new after that', async () => {
  const out = new Set<NodeId>()
  const policy = new Policy({ ...openAuthority, isMember: (nodeId) => !out.has(nodeId) })
  policy.register(cellKind as PageKind)
  const store = new PageStore(policy, new SignatureVerifier(), silentLogger)
  const others = await Promise.all(Array.from({ length: 20 }, (_, number) => keyPairOf(number + 1)))
  const first = { ...cellOf(pages[0] ?? expect.unreachable()), isVerified: true }
  const page = pages[1] ?? expect.unreachable()
  const second = { page, update: writeUpdate(others.map((other) => chainOf(other, { page }))) }
  const batch = store.ingestBatch([first, second])
  for (let turns = 0; store.page(first.page) === undefined && turns < 100; turns++) await Promise.resolve()
  out.add(pair.nodeId)
  expect(names(store.revise())).toEqual([first.page])
  expect(names((await batch).entries)).toEqual(Array<string>(20).fill(page))
})

test('[REC-93] a node refuses its own page above its quota before anything is written, and goes on with those that it has', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const node = await mesh.node(0, options)
  await node.start()
  const written = Promise.allSettled(pages.map((page) => writeCell(node, page)))
  const results = await clock.run(written)
  expect(results.map(({ status }) => status)).toEqual([
    ...Array<string>(max).fill('fulfilled'),
    ...Array<string>(max).fill('rejected')
  ])
  await expect(clock.run(writeCell(node, high()[0] ?? expect.unreachable()))).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    details: { page: high()[0], count: max, limit: max }
  })
  for (const page of low()) await clock.run(writeCell(node, page))
  expect(cellsOf(node)).toEqual(low().toSorted())
  expect(new Set(node.disk.records.map(({ page }) => page))).toEqual(new Set(low()))
})

test('[REC-94] nodes that hold other pages of one writer keep the same after one round, find nothing to say in the next, and tell who listens', async () => {
  const mesh = virtualMesh(2, deaf)
  const { clock } = mesh.environment
  // One key on two machines, each of which has fewer pages than it may.
  const one = await mesh.node(0, options)
  const two = await mesh.node(0, { ...options, networkNumber: 1, disk: emptyDisk() })
  const held = new Set<string>()
  two.document.subscribe(cellKind, (entries, removed) => {
    for (const { page } of entries) held.add(page)
    for (const { page } of removed) held.delete(page)
  })
  mesh.hub.isolate(two.network.nodeId)
  for (const node of [one, two]) await node.start()
  for (const page of low()) await clock.run(writeCell(one, page))
  for (const page of high()) await clock.run(writeCell(two, page))
  expect(held).toEqual(new Set(high()))
  mesh.hub.healAll()
  await clock.advance(60_000)
  expect([cellsOf(one), cellsOf(two)]).toEqual([low().toSorted(), low().toSorted()])
  expect(held).toEqual(new Set(low()))
  expect(one.document.digest()).toBe(two.document.digest())
  const before = one.network.traffic().receivedBytes
  await clock.advance(600_000)
  expect(one.network.traffic().receivedBytes - before).toBeLessThan(80 * 100)
  expect([one, two].flatMap(({ document }) => document.conduct()).every(({ score }) => score === 0)).toBe(true)
})
