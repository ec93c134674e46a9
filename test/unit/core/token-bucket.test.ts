import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TokenBuckets } from '../../../src/core/token-bucket.js'

const init = { capacity: 10, perSecond: 2, maxKeys: 100 }

test('[REC-55] a bucket gives what it holds at once, then what comes back', () => {
  const buckets = new TokenBuckets<string>(init)
  const taken = (nowMs: number): number =>
    Array.from({ length: 50 }, () => buckets.take('a', 1, nowMs)).filter(Boolean).length
  expect([taken(0), taken(0), taken(500), taken(1500), taken(60_000)]).toEqual([10, 0, 1, 2, 10])
  expect(buckets.take('b', 11, 60_000)).toBe(false)
  expect(buckets.take('b', 10, 60_000)).toBe(true)
})

test('[REC-55] what is charged beyond the bucket has to come back first, and what is given back never overflows', () => {
  const buckets = new TokenBuckets<string>(init)
  buckets.charge('a', 1000, 0)
  expect(buckets.available('a', 0)).toBe(-10)
  expect([buckets.take('a', 1, 5000), buckets.take('a', 1, 5500)]).toEqual([false, true])
  buckets.charge('a', -1000, 5500)
  expect(buckets.available('a', 5500)).toBe(10)
})

test('[REC-55] full buckets are forgotten, and there are never more than the bound', () => {
  const buckets = new TokenBuckets<number>(init)
  for (let key = 0; key < 1000; key++) buckets.take(key, 1, 0)
  expect(buckets.size).toBe(100)
  expect([buckets.has(999), buckets.has(0)]).toEqual([true, false])
  buckets.take(0, 1, 10_000)
  expect(buckets.size).toBe(1)
})

test('[REC-55] over any time nobody gets more than the bucket and what came back', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(3000), fc.integer({ min: 1, max: 12 })), { maxLength: 100 }), (steps) => {
      const buckets = new TokenBuckets<string>(init)
      let [now, got] = [0, 0]
      for (const [waitMs, amount] of steps) {
        now += waitMs
        if (buckets.take('a', amount, now)) got += amount
      }
      expect(got).toBeLessThanOrEqual(init.capacity + (now / 1000) * init.perSecond + 1e-6)
    })
  )
})
