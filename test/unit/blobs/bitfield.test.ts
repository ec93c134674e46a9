import { expect, test } from 'vitest'
import { Bitfield } from '../../../src/blobs/bitfield.js'

test('bits are set, counted and cleared', () => {
  const bits = Bitfield.empty(10)
  expect([bits.set(9), bits.set(9), bits.set(0), bits.set(10), bits.set(-1)]).toEqual([true, false, true, false, false])
  expect([bits.ones, bits.isFull, [...bits.zeros()]]).toEqual([2, false, [1, 2, 3, 4, 5, 6, 7, 8]])
  expect([bits.clear(9), bits.clear(9), bits.ones]).toEqual([true, false, 1])
  expect([...bits.bytes]).toEqual([0x80, 0])
})

test('full means every bit and no spare one', () => {
  for (const length of [0, 1, 7, 8, 9, 64]) {
    const bits = Bitfield.full(length)
    expect([bits.ones, bits.isFull, [...bits.zeros()]]).toEqual([length, true, []])
    expect(Bitfield.from(bits.bytes, length).ones).toBe(length)
  }
})

test('a bitfield of the wrong length, or with spare bits, is refused', () => {
  expect(() => Bitfield.from(new Uint8Array(2), 17)).toThrow(expect.objectContaining({ code: 'MALFORMED' }))
  expect(() => Bitfield.from(new Uint8Array(3), 16)).toThrow(expect.objectContaining({ code: 'MALFORMED' }))
  expect(() => Bitfield.from(Uint8Array.of(0xff, 0x81), 15)).toThrow(expect.objectContaining({ code: 'MALFORMED' }))
})

test('a copy changes on its own', () => {
  const bits = Bitfield.full(3)
  const copy = bits.clone()
  copy.clear(1)
  expect([bits.ones, copy.ones]).toEqual([3, 2])
})
