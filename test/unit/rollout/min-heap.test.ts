import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MinHeap, nowhere } from '../../../src/rollout/min-heap.js'

test('[ROLL-30] the first of a heap is the lowest of what is in, whatever was put in and taken out', () => {
  const step = fc.tuple(fc.nat(20), fc.nat(5))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const items = Array.from({ length: 21 }, () => ({ key: 0, place: nowhere }))
      const heap = new MinHeap<{ key: number; place: number }>({
        key: (item) => item.key,
        place: (item) => item.place,
        setPlace: (item, place) => (item.place = place)
      })
      for (const [at, key] of steps) {
        const item = items[at]
        if (item === undefined) continue
        heap.delete(item)
        heap.delete(item)
        item.key = key
        if (key > 0) heap.add(item)
        const inside = items.filter(({ place }) => place !== nowhere)
        expect(heap.first?.key).toBe(inside.length === 0 ? undefined : Math.min(...inside.map((each) => each.key)))
        expect(inside.map(({ place }) => place).toSorted((a, b) => a - b)).toEqual(inside.map((_, place) => place))
      }
    })
  )
})
