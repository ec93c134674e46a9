import { expect, test } from 'vitest'
import type { PageStore } from '../../../src/record/store.js'
import { maxMessageBytes } from '../../../src/record/wire.js'
import { bytesOf, entriesOf, Pair, trustingStore } from './large.js'

const entryCount = 10_000
const entries = entriesOf(0, entryCount, 0)
const later = entriesOf(0, entryCount, 70)

const countOf = (store: PageStore): number => [...store.digests().keys()].flatMap((page) => store.entries(page)).length

test('[REC-52] an empty node gets 10 000 entries in messages of at most 256 KiB, for little more than their bytes', async () => {
  const pair = await Pair.of(trustingStore(), trustingStore(entries))
  const { more } = await pair.round()
  expect(more).toBe(false)
  expect(pair.areEqual).toBe(true)
  expect(countOf(pair.stores[0])).toBe(entryCount)
  expect(pair.largestBytes).toBeLessThanOrEqual(maxMessageBytes)
  expect(pair.bytes).toBeLessThan(1.1 * bytesOf(entries))
})

test('[REC-52] a round that is cut off in the middle keeps what came, and the next one brings only the rest', async () => {
  const pair = await Pair.of(trustingStore(), trustingStore(entries))
  await expect(pair.round(6)).rejects.toThrow('cut')
  const kept = countOf(pair.stores[0])
  expect(kept).toBeGreaterThan(entryCount / 10)
  expect(kept).toBeLessThan(entryCount)
  const before = pair.bytes
  await pair.round()
  expect(pair.areEqual).toBe(true)
  const rest = 1 - kept / entryCount
  expect(pair.bytes - before).toBeLessThan(1.1 * rest * bytesOf(entries) + 65_536)
})

test('[REC-52] a node that comes back after days, when all 10 000 entries have changed, is up to date after one round', async () => {
  const pair = await Pair.of(trustingStore(entries), trustingStore(entries, later))
  await pair.round()
  expect(pair.areEqual).toBe(true)
  expect(pair.largestBytes).toBeLessThanOrEqual(maxMessageBytes)
  expect(pair.bytes).toBeLessThan(1.5 * bytesOf(later))
})
