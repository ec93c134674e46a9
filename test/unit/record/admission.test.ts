import { beforeAll, expect, test } from 'vitest'
import * as Y from 'yjs'
import { parsePageId } from '../../../src/core/ids.js'
import type { KeyPair } from '../../../src/identity/keypair.js'
import { clientIdOf, maxEntryBytes } from '../../../src/record/entry.js'
import { rootName, writeUpdate } from '../../../src/record/yjs-update.js'
import {
  chainOf,
  keyPairOf,
  listeningLogger,
  makeStore,
  notePage,
  stonePage,
  storeWith,
  updateOf,
  type EntryOptions
} from './fixtures.js'

let pair: KeyPair
let other: KeyPair

beforeAll(async () => {
  pair = await keyPairOf(0)
  other = await keyPairOf(1)
})

function ingest(
  update: Uint8Array,
  before: readonly Uint8Array[] = []
): { refusals: readonly string[]; declined: readonly string[]; texts: string[]; gap: boolean } {
  const { store } = storeWith(before)
  const { refusals, declined, gap } = store.ingest([{ page: notePage, update }])
  return {
    refusals,
    declined: declined.map(({ reason }) => reason),
    gap,
    texts: store.entries(notePage).map(({ body }) => (body as { text: string }).text)
  }
}

test('an honest update enters, once', () => {
  const { store } = storeWith([])
  const update = { page: notePage, update: updateOf(pair) }
  expect(store.ingest([update]).entries).toMatchObject([{ writer: pair.nodeId, seq: 0, body: { text: 'text 0' } }])
  expect({ ...store.ingest([update]) }).toEqual({
    updates: [],
    entries: [],
    removed: [],
    refusals: [],
    declined: [],
    gap: false
  })
})

test('[REC-11] a forged key is refused: a value under the name of another', () => {
  const forged = { ...chainOf(other), client: clientIdOf(notePage, pair.nodeId), key: pair.nodeId }
  expect(ingest(writeUpdate([forged]))).toMatchObject({ texts: [], refusals: [expect.stringContaining('signature')] })
})

test("[REC-11] a foreign client id is refused: one's own entry on the clock of another", () => {
  const foreign = { ...chainOf(other), client: clientIdOf(notePage, pair.nodeId) }
  expect(ingest(writeUpdate([foreign]))).toMatchObject({ texts: [], refusals: [expect.stringContaining('client id')] })
  const above = { ...chainOf(other, { seq: 1 }), start: 1, client: clientIdOf(notePage, pair.nodeId) }
  expect(ingest(writeUpdate([above]), [updateOf(pair)])).toMatchObject({
    texts: ['text 0'],
    refusals: [expect.stringContaining('signature')]
  })
})

test('[REC-11] an entry of another page is refused', () => {
  const moved = chainOf(pair, { page: parsePageId('note/b') })
  expect(ingest(writeUpdate([moved])).refusals).toEqual([expect.stringContaining('client id')])
  expect(ingest(writeUpdate([{ ...moved, client: clientIdOf(notePage, pair.nodeId) }])).refusals).toEqual([
    expect.stringContaining('signature')
  ])
})

test('[REC-11] an old value played again at a later clock is refused', () => {
  const replayed = { ...chainOf(pair, { seq: 1 }), seq: 5 }
  expect(ingest(writeUpdate([replayed]), [updateOf(pair, { seq: 3 })])).toMatchObject({
    texts: ['text 3'],
    refusals: [expect.stringContaining('signature')]
  })
})

test('an older value changes nothing and is nobody’s fault', () => {
  expect(ingest(updateOf(pair, { seq: 2 }), [updateOf(pair, { seq: 3 })])).toEqual({
    refusals: [],
    declined: [],
    gap: false,
    texts: ['text 3']
  })
})

test('[REC-4] an update in encoding version 2, or of other content, never reaches Yjs', () => {
  const doc = new Y.Doc()
  doc.clientID = clientIdOf(notePage, pair.nodeId)
  doc.getMap(rootName).set(pair.nodeId, chainOf(pair).value)
  expect(ingest(Y.encodeStateAsUpdateV2(doc)).refusals).toHaveLength(1)
  expect(ingest(Y.encodeStateAsUpdate(doc)).texts).toEqual(['text 0'])
  doc.getText('more').insert(0, 'text')
  expect(ingest(Y.encodeStateAsUpdate(doc))).toMatchObject({ texts: [], refusals: [expect.any(String)] })
})

test('[REC-12] a chain of an unknown writer that starts above 0 is a gap, no refusal, and nothing waits in Yjs', () => {
  const { store, page } = storeWith([updateOf(other)])
  const update = updateOf(pair, { seq: 7, start: 5 })
  expect(store.ingest([{ page: notePage, update }])).toEqual({
    updates: [],
    entries: [],
    removed: [],
    refusals: [],
    declined: [],
    gap: true
  })
  const doc = new Y.Doc()
  Y.applyUpdate(doc, page.export())
  expect(doc.store.pendingStructs).toBeNull()
  expect([...doc.store.clients.keys()]).toEqual([clientIdOf(notePage, other.nodeId)])
})

test('[REC-12] a chain of a known writer may skip clocks: the value is whole, and nothing waits in Yjs', () => {
  const { store, page } = storeWith([updateOf(pair, { seq: 1 })])
  const { entries, gap } = store.ingest([{ page: notePage, update: updateOf(pair, { seq: 9, start: 9 }) }])
  expect([entries.length, gap]).toEqual([1, false])
  const doc = new Y.Doc()
  Y.applyUpdate(doc, page.export())
  expect(doc.store.pendingStructs).toBeNull()
  expect(doc.getMap(rootName).get(pair.nodeId)).toEqual(chainOf(pair, { seq: 9 }).value)
  expect(page.digest()).toEqual(storeWith([updateOf(pair, { seq: 9 })]).page.digest())
})

test('[REC-13] one bad chain is dropped alone', async () => {
  const third = await keyPairOf(2)
  const forged = { ...chainOf(other), value: chainOf(other, { seq: 3 }).value }
  const result = ingest(
    writeUpdate([chainOf(pair, { body: { text: 'a' } }), forged, chainOf(third, { body: { text: 'b' } })])
  )
  expect(result).toMatchObject({ texts: ['a', 'b'], refusals: [expect.stringContaining(other.nodeId)] })
})

test('[REC-14] a delete set is dropped: nobody can erase the entry of another', () => {
  const doc = new Y.Doc()
  const { page, store } = storeWith([updateOf(pair)])
  Y.applyUpdate(doc, page.export())
  const vector = Y.encodeStateVector(doc)
  doc.getMap(rootName).delete(pair.nodeId)
  const erasure = Y.encodeStateAsUpdate(doc, vector)
  expect(erasure.length).toBeGreaterThan(2)
  expect(store.ingest([{ page: notePage, update: erasure }]).refusals).toEqual([])
  expect(store.entries(notePage)).toHaveLength(1)
  const after = new Y.Doc()
  Y.applyUpdate(after, page.export())
  expect(after.getMap(rootName).has(pair.nodeId)).toBe(true)
})

test.each<[string, EntryOptions, string]>([
  ['a body of the wrong form', { body: { text: 7 } }, 'wrong form'],
  ['a body that is empty', { body: {} }, 'wrong form'],
  ['a body that the policy forbids', { body: { text: 'forbidden' } }, 'may not write this']
])('[REC-15] %s is left out although it is signed, and whoever passed it on is not to blame', (_, options, why) => {
  expect(ingest(updateOf(pair, options))).toMatchObject({
    texts: [],
    refusals: [],
    declined: [expect.stringContaining(why)]
  })
})

test('[REC-15] a value above the bound is refused', () => {
  const update = updateOf(pair, { body: { text: 'x'.repeat(maxEntryBytes) } })
  expect(ingest(update)).toMatchObject({ texts: [], refusals: [expect.stringContaining('limit')] })
})

test('a page that this node does not know is passed over, without a fault', () => {
  const store = makeStore()
  for (const page of ['other/a', 'note/NOT-A-NAME'].map(parsePageId)) {
    expect(store.ingest([{ page, update: updateOf(pair, { page }) }])).toMatchObject({ entries: [], refusals: [] })
  }
  expect([...store.pages()]).toEqual([])
})

test('[REC-16] on an immutable page only the first value of a writer enters', () => {
  const { store } = storeWith([updateOf(pair, { page: stonePage })], stonePage)
  const changed = store.ingest([{ page: stonePage, update: updateOf(pair, { page: stonePage, seq: 1 }) }])
  expect(changed.refusals).toEqual([expect.stringContaining('may not change')])
  expect(storeWith([updateOf(pair, { page: stonePage, seq: 1 })], stonePage).store.entries(stonePage)).toEqual([])
  expect(store.entries(stonePage)).toMatchObject([{ seq: 0, body: { text: 'text 0' } }])
  store.ingest([{ page: stonePage, update: updateOf(other, { page: stonePage }) }])
  expect(store.entries(stonePage)).toHaveLength(2)
})

test('[REC-17] of two values for one clock the same one stays, whatever came first, and it is reported', () => {
  const values = [0, 1, 1].map((epoch, at) => updateOf(pair, { seq: 2, epoch, body: { text: `text ${at}` } }))
  const digests = new Set<string>()
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 0, 2],
    [2, 0, 1]
  ]) {
    const logger = listeningLogger()
    const store = makeStore(logger)
    for (const at of order) store.ingest([{ page: notePage, update: values[at] ?? new Uint8Array() }])
    expect(store.entries(notePage)[0]?.epoch).toBe(1)
    digests.add(store.digest())
    if (order[0] === 0) expect(logger.lines).toContainEqual(expect.stringContaining('signed two values for clock 2'))
  }
  expect(digests.size).toBe(1)
})

test('[REC-17] a second value for one clock that is not signed changes nothing', () => {
  const forged = { ...chainOf(pair, { seq: 2 }), value: chainOf(other, { seq: 2, epoch: 9 }).value }
  expect(ingest(writeUpdate([forged]), [updateOf(pair, { seq: 2 })])).toMatchObject({
    texts: ['text 2'],
    refusals: [expect.stringContaining('signature')]
  })
})

test('when two chains of one writer come in one update, the later one stays', () => {
  const update = writeUpdate([chainOf(pair, { seq: 1 }), chainOf(pair, { seq: 4 })])
  expect(ingest(update).texts).toEqual(['text 4'])
})

test('[REC-13] an error inside a kind is a refusal, not the end of the batch', () => {
  const { store } = storeWith([])
  const kept = store.ingest([
    { page: notePage, update: Uint8Array.of(9, 9) },
    { page: notePage, update: updateOf(other) }
  ])
  expect(kept.refusals).toHaveLength(1)
  expect(kept.entries).toHaveLength(1)
})
