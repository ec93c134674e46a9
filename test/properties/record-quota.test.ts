import fc from 'fast-check'
import { expect, inject, test } from 'vitest'
import { parsePageId } from '../../src/core/ids.js'
import type { PageStore } from '../../src/record/store.js'
import type { PageUpdate } from '../../src/record/wire.js'
import { cellKind, keyPairOf, makeStore, updateOf } from '../unit/record/fixtures.js'

const nodeCount = 3
const max = cellKind.maxPagesPerWriter

/** An entry of a page that reaches some of the nodes, some of them twice. */
const delivery = fc.record({
  page: fc.nat(30),
  seq: fc.nat(3),
  nodes: fc.array(fc.nat(nodeCount - 1), { minLength: 1, maxLength: 4 })
})
/** What happens in one go: entries that come one by one or as a batch, or a round of two nodes. */
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ deliveries: fc.array(delivery, { minLength: 1, maxLength: 6 }), batch: fc.boolean() })
  },
  { weight: 1, arbitrary: fc.record({ from: fc.nat(nodeCount - 1), to: fc.nat(nodeCount - 1) }) }
)

function everythingOf(store: PageStore): PageUpdate[] {
  return [...store.pages()].flatMap(({ id }) => store.updatesSince(id, new Map()))
}

test('[REC-90] any order and interleaving of more pages than a writer may have ends in equal digests and exactly as many as it may', async () => {
  const pair = await keyPairOf(0)
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), async (steps) => {
      const stores = Array.from({ length: nodeCount }, () => makeStore())
      const at = (number: number): PageStore => stores[number] ?? expect.unreachable()
      const written = new Set<number>()
      // What listeners believe to be there.
      const told = stores.map(() => new Set<string>())
      const take = async (number: number, updates: readonly PageUpdate[], batch: boolean): Promise<void> => {
        const result = batch ? await at(number).ingestBatch(updates) : at(number).ingest(updates)
        expect(result.refusals).toEqual([])
        for (const { page } of result.removed) told[number]?.delete(page)
        for (const { page } of result.entries) told[number]?.add(page)
      }
      for (const one of steps) {
        if ('from' in one) {
          await take(one.to, everythingOf(at(one.from)), true)
          continue
        }
        const inboxes = stores.map((): PageUpdate[] => [])
        for (const { page: number, seq, nodes } of one.deliveries) {
          written.add(number)
          const page = parsePageId(`cell/${number}`)
          for (const node of nodes) inboxes[node]?.push({ page, update: updateOf(pair, { page, seq }) })
        }
        await Promise.all(inboxes.map((inbox, number) => take(number, inbox, one.batch)))
      }
      const all = stores.flatMap(everythingOf)
      for (const number of stores.keys()) await take(number, all, false)
      expect(new Set(stores.map((store) => store.digest())).size).toBe(1)
      for (const [number, store] of stores.entries()) {
        const pages = Array.from(store.pages(), ({ id }) => id)
        expect(pages).toHaveLength(Math.min(max, written.size))
        expect(told[number]).toEqual(new Set(pages))
      }
    }),
    { numRuns: 20 * inject('seeds') }
  )
}, 60_000)
