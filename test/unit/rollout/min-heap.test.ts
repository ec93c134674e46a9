import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MinHeap, nowhere } from '../../../src/rollout/min-heap.js'

test('[ROLL-30] the first of a heap is the lowest of what is in, whatever was put in and taken out', () => {
  const step = fc.tuple(fc.nat(20), fc.nat(5))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const items = Array.from({ length: 21 }, () => ({ key: 0, place: nowhere }))
      const heap = new MinHeap<{ key: number; place: number }>({
        get: (item) => item.place,
        set: (item, place) => (item.place = place)
      })
      for (const [at, key] of steps) {
        const item = items[at]
        if (item === undefined) continue
        heap.delete(item)
        heap.delete(item)
        item.key = key
        if (key > 0) heap.add(item, key)
        const inside = items.filter(({ place }) => place !== nowhere)
        expect(heap.firstKey).toBe(Math.min(...inside.map((each) => each.key)))
        expect(heap.first?.key ?? Infinity).toBe(heap.firstKey)
        expect(inside.map(({ place }) => place).toSorted((a, b) => a - b)).toEqual(inside.map((_, place) => place))
      }
    })
  )
})
