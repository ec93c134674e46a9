import { expect, test } from 'vitest'
import type { PageStore } from '../../../src/record/store.js'
import { bytesOf, entriesOf, Pair, trustingStore, type PlacedEntry } from './large.js'

const writerCount = 10_000
const before = entriesOf(0, writerCount, 3)
/** One in a hundred on each side, over all buckets. */
const [here, there] = [entriesOf(0, 100, 4), entriesOf(100, 100, 4)]

const storeAfter = (changed: readonly PlacedEntry[]): PageStore => trustingStore(before, changed)

test('[REC-51] a round between equal documents of 10 000 writers costs less than 200 bytes', async () => {
  const pair = await Pair.of(storeAfter([]), storeAfter([]))
  await pair.round()
  expect(pair.bytes).toBeLessThan(200)
})

test.each([
  ['here', here, []],
  ['there', [], there],
  ['on both sides', here, there]
])(
  '[REC-51] after one in a hundred of 10 000 wrote %s, a round costs at most twice that and 64 KiB',
  async (_, a, b) => {
    const pair = await Pair.of(storeAfter(a), storeAfter(b))
    const { more } = await pair.round()
    expect(more).toBe(false)
    expect(pair.areEqual).toBe(true)
    expect(pair.bytes).toBeLessThan(2 * bytesOf([...a, ...b]) + 65_536)
  }
)

test('[REC-51] one entry that differs costs less than 5 KiB', async () => {
  const pair = await Pair.of(storeAfter(here.slice(0, 1)), storeAfter([]))
  await pair.round()
  expect(pair.areEqual).toBe(true)
  expect(pair.bytes).toBeLessThan(5 * 1024)
})
