import fc from 'fast-check'
import { beforeAll, expect, inject, test } from 'vitest'
import type { KeyPair } from '../../src/identity/keypair.js'
import { isEvidence } from '../../src/record/evidence.js'
import type { PageStore } from '../../src/record/store.js'
import { writeUpdate } from '../../src/record/yjs-update.js'
import { chainOf, keyPairOf, makeStore, notePage } from '../unit/record/fixtures.js'

let pairs: KeyPair[]
/** What was signed, by writer and clock: nothing else may ever be on the page. */
const signed = new Map<string, Uint8Array>()
let before: Uint8Array
let after: Uint8Array

beforeAll(async () => {
  pairs = await Promise.all([0, 1].map(keyPairOf))
  const chains = (seq: number, start: number) =>
    pairs.map((pair) => {
      const chain = chainOf(pair, { seq })
      signed.set(`${pair.nodeId} ${seq}`, chain.value)
      return { ...chain, start, key: start === 0 ? chain.key : undefined }
    })
  before = writeUpdate(chains(2, 0))
  after = writeUpdate(chains(5, 3))
})

/** One change of some bytes. */
const mutation = fc.oneof(
  fc.record({ do: fc.constant('flip' as const), at: fc.nat(), bit: fc.nat(7) }),
  fc.record({ do: fc.constant('set' as const), at: fc.nat(), byte: fc.nat(255) }),
  fc.record({ do: fc.constant('insert' as const), at: fc.nat(), bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }) }),
  fc.record({ do: fc.constant('remove' as const), at: fc.nat(), count: fc.integer({ min: 1, max: 40 }) }),
  fc.record({ do: fc.constant('copy' as const), at: fc.nat(), from: fc.nat(), count: fc.integer({ min: 1, max: 80 }) }),
  fc.record({ do: fc.constant('cut' as const), at: fc.nat() })
)
type Mutation = typeof mutation extends fc.Arbitrary<infer Value> ? Value : never

function mutated(bytes: Uint8Array, change: Mutation): Uint8Array {
  const at = change.at % Math.max(1, bytes.length)
  const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)]
  switch (change.do) {
    case 'flip':
      return Uint8Array.of(...head, (tail[0] ?? 0) ^ (1 << change.bit), ...tail.subarray(1))
    case 'set':
      return Uint8Array.of(...head, change.byte, ...tail.subarray(1))
    case 'insert':
      return Uint8Array.of(...head, ...change.bytes, ...tail)
    case 'remove':
      return Uint8Array.of(...head, ...tail.subarray(change.count))
    case 'copy': {
      const from = change.from % Math.max(1, bytes.length)
      return Uint8Array.of(...head, ...bytes.subarray(from, from + change.count), ...tail)
    }
    case 'cut':
      return head.slice()
  }
}

function expectOnlySigned(store: PageStore): void {
  const page = store.page(notePage)
  for (const { writer, seq, value } of page?.stored() ?? []) expect(signed.get(`${writer} ${seq}`)).toEqual(value)
  const view = page?.view()
  expect([view?.store.pendingStructs ?? null, view?.store.pendingDs ?? null]).toEqual([null, null])
  if (view !== undefined) expect([...view.share.keys()]).toEqual(['e'])
}

test('[REC-73] no change of any bytes changes an admitted entry or admits what was not signed, and nothing waits in Yjs', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('first', 'next'),
      fc.array(mutation, { minLength: 1, maxLength: 4 }),
      async (which, changes) => {
        const store = makeStore()
        if (which === 'next') store.ingest([{ page: notePage, update: before }])
        const digest = store.digest()
        const update = changes.reduce(mutated, which === 'next' ? after : before)
        const result = await store.ingestBatch([{ page: notePage, update }])
        expectOnlySigned(store)
        if (result.entries.length === 0) expect(store.digest()).toBe(digest)
        expect(store.evidence().every(isEvidence)).toBe(true)
      }
    ),
    { numRuns: 4000 * inject('seeds'), seed: 20_260 }
  )
}, 120_000)

test('[REC-73] random bytes admit nothing', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (update) => {
      const store = makeStore()
      expect(store.ingest([{ page: notePage, update }]).entries).toEqual([])
      expect([...store.pages()]).toEqual([])
    }),
    { numRuns: 1000, seed: 20_261 }
  )
})
