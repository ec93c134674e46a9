import { beforeAll, expect, test } from 'vitest'
import { parsePageId } from '../../../src/core/ids.js'
import type { KeyPair } from '../../../src/identity/keypair.js'
import { isEvidence, type Evidence } from '../../../src/record/evidence.js'
import { writeUpdate } from '../../../src/record/yjs-update.js'
import { chainOf, keyPairOf, makeStore, noteKind, notePage, updateOf } from './fixtures.js'
import { started, virtualMesh } from './mesh.js'

let pair: KeyPair
let other: KeyPair

beforeAll(async () => {
  pair = await keyPairOf(0)
  other = await keyPairOf(1)
})

const twoOf = (keyPair: KeyPair, page = notePage): Uint8Array[] =>
  [0, 1].map((epoch) => updateOf(keyPair, { page, seq: 2, epoch }))

test.each([
  ['the one that stays last', [0, 1]],
  ['the one that stays first', [1, 0]]
])('[REC-70] two signed values for one clock are evidence, %s', (_, order) => {
  const store = makeStore()
  const heard: Evidence[] = []
  store.onEvidence((evidence) => heard.push(evidence))
  const updates = twoOf(pair)
  for (const at of [...order, ...order]) store.ingest([{ page: notePage, update: updates[at] ?? new Uint8Array() }])
  expect(store.evidence()).toMatchObject([{ page: notePage, writer: pair.nodeId, seq: 2 }])
  expect(heard).toEqual(store.evidence())
  expect(heard.map(isEvidence)).toEqual([true])
  expect(store.entries(notePage)).toMatchObject([{ epoch: 1 }])
})

test('[REC-70] both in one batch are evidence, and the same one stays', async () => {
  for (const order of [
    [0, 1],
    [1, 0]
  ]) {
    const store = makeStore()
    const updates = twoOf(pair)
    await store.ingestBatch(order.map((at) => ({ page: notePage, update: updates[at] ?? new Uint8Array() })))
    expect(store.evidence().map(isEvidence)).toEqual([true])
    expect(store.entries(notePage)).toMatchObject([{ epoch: 1 }])
  }
})

test('[REC-70] evidence is verifiable from its bytes alone, and nobody can make it up', () => {
  const [one, two] = [0, 1].map((epoch) => chainOf(pair, { seq: 2, epoch }).value)
  if (one === undefined || two === undefined) return expect.unreachable()
  const position = { page: notePage, writer: pair.nodeId, seq: 2 }
  expect(isEvidence({ ...position, values: [one, two] })).toBe(true)
  expect(isEvidence({ ...position, values: [one, one] })).toBe(false)
  expect(isEvidence({ ...position, values: [one, one.slice(0, 60)] })).toBe(false)
  expect(isEvidence({ ...position, values: [one, chainOf(pair, { seq: 3 }).value] })).toBe(false)
  expect(isEvidence({ ...position, values: [one, chainOf(other, { seq: 2 }).value] })).toBe(false)
  expect(isEvidence({ ...position, seq: 3, values: [one, two] })).toBe(false)
  expect(isEvidence({ ...position, page: parsePageId('note/b'), values: [one, two] })).toBe(false)
  expect(isEvidence({ ...position, writer: other.nodeId, values: [one, two] })).toBe(false)
})

test('[REC-70] an unsigned second value is no evidence', () => {
  const store = makeStore()
  store.ingest([{ page: notePage, update: updateOf(pair, { seq: 2 }) }])
  const forged = chainOf(pair, { seq: 2, epoch: 1 })
  forged.value[3] = (forged.value[3] ?? 0) ^ 1
  expect(store.ingest([{ page: notePage, update: writeUpdate([forged]) }]).refusals).toHaveLength(1)
  expect(store.evidence()).toEqual([])
})

test('[REC-70] one piece for a page and writer, 64 in all: the first ones stay, and what stays on the page is the same', () => {
  const store = makeStore()
  for (let number = 0; number < 70; number++) {
    const page = parsePageId(`note/${number}`)
    for (const update of twoOf(pair, page)) store.ingest([{ page, update }])
    store.ingest([{ page, update: updateOf(pair, { page, seq: 2, epoch: 5 }) }])
    expect(store.entries(page)).toMatchObject([{ epoch: 5 }])
  }
  expect(store.evidence().map(({ page }) => page)).toEqual(Array.from({ length: 64 }, (_, number) => `note/${number}`))
})

test('[REC-70] a document tells of the evidence that it meets when two machines with one key wrote apart', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2)
  mesh.hub.cut(one.network.nodeId, two.network.nodeId)
  const twins = [await mesh.node(7, { networkNumber: 8 }), await mesh.node(7, { networkNumber: 9 })]
  const heard: Evidence[] = []
  for (const { document } of [one, two]) document.onEvidence((evidence) => heard.push(evidence))
  for (const [at, twin] of twins.entries()) {
    await clock.run(Promise.all(twins.map((other) => other.stop())))
    mesh.hub.isolate(twins[1 - at]?.network.nodeId ?? twin.network.nodeId)
    mesh.hub.cut(twin.network.nodeId, (at === 0 ? two : one).network.nodeId)
    await twin.start()
    await clock.run(twin.document.write(noteKind, notePage, { text: `twin ${at}` }))
    await clock.advance(500)
    mesh.hub.heal(twins[1 - at]?.network.nodeId ?? twin.network.nodeId)
    await clock.run(twin.stop())
  }
  mesh.hub.heal(one.network.nodeId, two.network.nodeId)
  await clock.advance(60_000)
  expect(heard.length).toBeGreaterThan(0)
  expect(heard.every((evidence) => isEvidence(evidence) && evidence.writer === twins[0]?.keyPair.nodeId)).toBe(true)
  expect([one, two].flatMap(({ document }) => document.evidence())).toEqual(heard)
  expect(one.document.digest()).toBe(two.document.digest())
})
