import { afterEach, beforeEach, expect, test, vi, type MockInstance } from 'vitest'
import * as Y from 'yjs'
import { openEntry } from '../../../src/record/entry.js'
import { rootName } from '../../../src/record/yjs-update.js'
import { chainOf, keyPairOf, storeWith, updateOf } from './fixtures.js'

const consoleMethods = ['log', 'info', 'warn', 'error', 'debug'] as const
let spies: MockInstance[]

beforeEach(() => {
  spies = consoleMethods.map((method) => vi.spyOn(console, method).mockImplementation(() => {}))
})
afterEach(() => {
  for (const spy of spies) expect(spy).not.toHaveBeenCalled()
  vi.restoreAllMocks()
})

async function overwritten(times: number, writers = 20): Promise<Uint8Array> {
  const pairs = await Promise.all(Array.from({ length: writers }, (_, at) => keyPairOf(at)))
  const updates = Array.from({ length: times }, (_, seq) =>
    pairs.map((pair) => updateOf(pair, { seq, start: seq, body: { text: 'of one length' } }))
  )
  return storeWith(updates.flat()).page.export()
}

test('[REC-8] a hundred overwrites cost the same bytes as ten', async () => {
  const [ten, hundred] = [await overwritten(10), await overwritten(100)]
  // Numbers above 63 and 127 take a second byte in DAG-CBOR and Yjs.
  expect(hundred.length - ten.length).toBeLessThanOrEqual(20 * 4)
})

test('[REC-9] an export opens in a stock Yjs document, which reads all entries', async () => {
  const pairs = await Promise.all([0, 1, 2].map(keyPairOf))
  const { page } = storeWith(pairs.map((pair, at) => updateOf(pair, { seq: at, body: { text: `by ${at}` } })))
  const doc = new Y.Doc()
  Y.applyUpdate(doc, page.export())
  const map = doc.getMap<Uint8Array>(rootName)
  expect(map.size).toBe(3)
  for (const { writer, value } of page.stored()) {
    const read = map.get(writer)
    expect(read).toEqual(value)
    expect(openEntry(read ?? new Uint8Array()).epoch).toBe(0)
  }
})

test('[REC-10] the digest is equal exactly when the content is', async () => {
  const [one, two] = [await keyPairOf(0), await keyPairOf(1)]
  const a = [updateOf(one, { seq: 4 }), updateOf(two)]
  const stepwise = [updateOf(two), ...[0, 1, 2, 3, 4].map((seq) => updateOf(one, { seq, start: seq }))]
  const digest = (updates: readonly Uint8Array[]): string =>
    Buffer.from(storeWith(updates).page.digest()).toString('hex')
  expect(digest(a)).toBe(digest(stepwise))
  const others = [
    [],
    [updateOf(one, { seq: 4 })],
    [updateOf(one, { seq: 5 }), updateOf(two)],
    [updateOf(one, { seq: 4, epoch: 1 }), updateOf(two)],
    [updateOf(one, { seq: 4, body: { text: 'else' } }), updateOf(two)],
    [updateOf(one, { seq: 4, issuedAt: 1 }), updateOf(two)]
  ]
  expect(new Set([digest(a), ...others.map(digest)]).size).toBe(others.length + 1)
})

test('a digest is remembered until the content changes', async () => {
  const pair = await keyPairOf(0)
  const { page, store } = storeWith([updateOf(pair)])
  const before = page.digest()
  expect(page.digest()).toBe(before)
  store.ingest([{ page: page.id, update: updateOf(pair, { seq: 1 }) }])
  expect(page.digest()).not.toEqual(before)
})

test('what a holder of a state vector lacks is exactly that', async () => {
  const [one, two, three] = await Promise.all([0, 1, 2].map(keyPairOf))
  if (one === undefined || two === undefined || three === undefined) return expect.unreachable()
  const ours = storeWith([updateOf(one, { seq: 5 }), updateOf(two, { seq: 1 }), updateOf(three)]).page
  const theirs = storeWith([updateOf(one, { seq: 2 }), updateOf(two, { seq: 1 })]).page
  expect(ours.chainsSince(ours.stateVector())).toEqual([])
  expect(ours.chainsSince(theirs.stateVector())).toEqual([
    { ...chainOf(one, { seq: 5 }), start: 3, key: undefined },
    chainOf(three)
  ])
  expect(theirs.chainsSince(ours.stateVector())).toEqual([])
})

test('two values for one clock are noticed by their tags, and the page can still be exported', async () => {
  const pair = await keyPairOf(0)
  const [low, high] = [0, 1].map((epoch) => updateOf(pair, { seq: 3, epoch }))
  if (low === undefined || high === undefined) return expect.unreachable()
  const [a, b] = [storeWith([low]), storeWith([high])]
  const missing = b.page.chainsSince(a.page.stateVector())
  expect(missing.map(({ start, seq }) => [start, seq])).toEqual([[3, 3]])
  a.store.ingest([{ page: a.page.id, update: high }])
  expect(a.page.digest()).toEqual(b.page.digest())
  const doc = new Y.Doc()
  Y.applyUpdate(doc, a.page.export())
  expect(doc.getMap(rootName).get(pair.nodeId)).toEqual(chainOf(pair, { seq: 3, epoch: 1 }).value)
  // And it goes on from there.
  a.store.ingest([{ page: a.page.id, update: updateOf(pair, { seq: 4 }) }])
  const after = new Y.Doc()
  Y.applyUpdate(after, a.page.export())
  expect(after.getMap(rootName).get(pair.nodeId)).toEqual(chainOf(pair, { seq: 4 }).value)
})

test('[REC-9] a view is a Yjs document that follows its page; when Yjs cannot follow, it ends and there is another', async () => {
  const [one, two] = [await keyPairOf(0), await keyPairOf(1)]
  const { page, store } = storeWith([updateOf(one, { seq: 3 })])
  const view = page.view()
  let destroyed = 0
  view.on('destroy', () => destroyed++)
  for (const [pair, seq] of [
    [two, 0],
    [one, 7],
    [two, 1]
  ] as const) {
    store.ingest([{ page: page.id, update: updateOf(pair, { seq, start: Math.min(seq, 4) }) }])
    expect(page.view()).toBe(view)
    expect(view.getMap(rootName).get(pair.nodeId)).toEqual(chainOf(pair, { seq }).value)
    expect([view.store.pendingStructs, view.store.pendingDs]).toEqual([null, null])
  }
  expect(destroyed).toBe(0)
  store.ingest([{ page: page.id, update: updateOf(one, { seq: 7, epoch: 1 }) }])
  expect(destroyed).toBe(1)
  expect(page.view()).not.toBe(view)
  expect(page.view().getMap(rootName).get(one.nodeId)).toEqual(chainOf(one, { seq: 7, epoch: 1 }).value)
})
