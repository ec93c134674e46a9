import { once } from 'node:events'
import { beforeAll, expect, test, vi } from 'vitest'
import { silentLogger } from '../../../src/core/logger.js'
import { parsePageId, type NodeId } from '../../../src/core/ids.js'
import { openAuthority, type Authority } from '../../../src/identity/authority.js'
import type { KeyPair } from '../../../src/identity/keypair.js'
import { SignatureVerifier } from '../../../src/identity/signature.js'
import { Policy, type PageKind } from '../../../src/record/policy.js'
import { PageStore } from '../../../src/record/store.js'
import { writeUpdate } from '../../../src/record/yjs-update.js'
import { chainOf, keyPairOf, makeStore, noteKind, notePage, updateOf } from './fixtures.js'

let pairs: KeyPair[]

beforeAll(async () => {
  pairs = await Promise.all(Array.from({ length: 20 }, (_, number) => keyPairOf(number)))
})

/** Chains of all pairs; with so many, the thread pool verifies. */
const everybody = (seq: number, start = 0): Uint8Array =>
  writeUpdate(pairs.map((pair) => ({ ...chainOf(pair, { seq, start }), start })))
const seqsOf = (store: PageStore): number[] => store.entries(notePage).map(({ seq }) => seq)

test('[REC-71] a batch that was verified on other threads admits what one by one does, and refuses the same', async () => {
  const good = pairs.map((pair) => chainOf(pair))
  const bad = good.map((chain, at) =>
    at % 3 === 0 ? { ...chain, value: chainOf(pairs[at] ?? expect.unreachable(), { seq: 5 }).value } : chain
  )
  const [batch, single] = [makeStore(), makeStore()]
  const update = { page: notePage, update: writeUpdate(bad) }
  const [fromBatch, fromSingle] = [await batch.ingestBatch([update]), single.ingest([update])]
  expect(fromBatch).toEqual(fromSingle)
  expect([fromBatch.entries.length, fromBatch.refusals.length]).toEqual([13, 7])
  expect(batch.digest()).toBe(single.digest())
})

test.each([
  ['the older first', [3, 7]],
  ['the newer first', [7, 3]]
])('[REC-71] of two batches that are verified at the same time the higher values stay, %s', async (_, seqs) => {
  const store = makeStore()
  const results = await Promise.all(seqs.map((seq) => store.ingestBatch([{ page: notePage, update: everybody(seq) }])))
  expect(new Set(seqsOf(store))).toEqual(new Set([7]))
  expect(results.flatMap(({ refusals }) => refusals)).toEqual([])
})

test('[REC-71] what comes in one by one while a batch is verified is kept', async () => {
  const store = makeStore()
  const verifying = store.ingestBatch([{ page: notePage, update: everybody(3) }])
  for (const pair of pairs.slice(0, 10)) store.ingest([{ page: notePage, update: updateOf(pair, { seq: 9 }) }])
  const { updates } = await verifying
  expect(seqsOf(store).toSorted((a, b) => a - b)).toEqual([...Array<number>(10).fill(3), ...Array<number>(10).fill(9)])
  const other = makeStore()
  for (const pair of pairs.slice(0, 10)) other.ingest([{ page: notePage, update: updateOf(pair, { seq: 9 }) }])
  other.ingest(updates)
  expect(other.digest()).toBe(store.digest())
})

test('[REC-71] who lost the right to write while a batch was verified does not enter', async () => {
  const revoked = new Set<NodeId>()
  const authority: Authority = { ...openAuthority, isMember: (nodeId) => !revoked.has(nodeId) }
  const policy = new Policy(authority)
  policy.register(noteKind as PageKind)
  const store = new PageStore(policy, new SignatureVerifier(), silentLogger)
  const verifying = store.ingestBatch([{ page: notePage, update: everybody(0) }])
  const gone = pairs[4]?.nodeId ?? expect.unreachable()
  revoked.add(gone)
  const { declined } = await verifying
  expect(declined).toHaveLength(1)
  expect(store.entries(notePage).map(({ writer }) => writer)).not.toContain(gone)
  expect(store.entries(notePage)).toHaveLength(19)
})

test('[REC-71] of a batch that is given up midway each page is there whole or not at all', async () => {
  const verifier = new SignatureVerifier()
  const [store, abort] = [makeStore(silentLogger, verifier), new AbortController()]
  // The signatures of the first page are done; those of the second take until the batch is given up.
  vi.spyOn(verifier, 'verifyAll').mockImplementation(async (claims) => {
    if (claims.some(({ message }) => Buffer.from(message).includes('note/b'))) await once(abort.signal, 'abort')
    abort.signal.throwIfAborted()
    return claims.map(() => true)
  })
  const page = parsePageId('note/b')
  const second = writeUpdate(pairs.map((pair) => chainOf(pair, { page })))
  const updates = [
    { page: notePage, update: everybody(0) },
    { page, update: second }
  ]
  const batch = store.ingestBatch(updates, abort.signal)
  while (store.page(notePage) === undefined) await Promise.resolve()
  abort.abort(new Error('stopped'))
  await expect(batch).rejects.toThrow('stopped')
  expect(store.entries(notePage)).toHaveLength(pairs.length)
  expect(store.page(page)).toBeUndefined()
})

test('[REC-71] a batch that was given up before it began leaves nothing, and nothing unhandled', async () => {
  const store = makeStore()
  const abort = new AbortController()
  const pages = ['note/a', 'note/b', 'note/c'].map(parsePageId)
  const updates = pages.map((page) => ({
    page,
    update: writeUpdate(Array.from({ length: 20 }, (_, at) => chainOf(pairs[at] ?? expect.unreachable(), { page })))
  }))
  abort.abort(new Error('stopped'))
  await expect(store.ingestBatch(updates, abort.signal)).rejects.toThrow('stopped')
  expect([...store.pages()]).toEqual([])
})

test('[REC-72] what this node verified before is not verified again; everything else about it is looked at', async () => {
  const verifier = new SignatureVerifier()
  const [one, all] = [vi.spyOn(verifier, 'verify'), vi.spyOn(verifier, 'verifyAll')]
  const policy = new Policy()
  policy.register(noteKind as PageKind)
  const store = new PageStore(policy, verifier, silentLogger)
  const forbidden = pairs.map((pair) => chainOf(pair, { page: parsePageId('note/b'), body: { text: 'forbidden' } }))
  const foreign = pairs.map((pair) => ({ ...chainOf(pair), client: 7 }))
  const result = await store.ingestBatch([
    { page: notePage, update: everybody(0), isVerified: true },
    { page: parsePageId('note/b'), update: writeUpdate(forbidden), isVerified: true },
    { page: parsePageId('note/c'), update: writeUpdate(foreign), isVerified: true }
  ])
  expect([result.entries.length, result.declined.length, result.refusals.length]).toEqual([20, 20, 20])
  // It is on the disk already.
  expect(result.updates).toEqual([])
  expect(one).not.toHaveBeenCalled()
  expect(all.mock.calls.flatMap(([claims]) => claims)).toEqual([])
})

test('[REC-72] in one batch, a chain that begins above 0 finds its writer in what came before it, verified or not', async () => {
  const pair = pairs[0] ?? expect.unreachable()
  for (const isVerified of [true, false]) {
    const store = makeStore()
    const { gap } = await store.ingestBatch([
      { page: notePage, update: updateOf(pair), isVerified },
      { page: notePage, update: updateOf(pair, { seq: 4, start: 4 }), isVerified: !isVerified }
    ])
    expect([gap, seqsOf(store)]).toEqual([false, [4]])
  }
})
