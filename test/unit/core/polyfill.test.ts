import { afterEach, beforeEach, expect, test, vi } from 'vitest'

const native = Object.getOwnPropertyDescriptor(Promise, 'withResolvers')

beforeEach(() => vi.resetModules())
afterEach(() => {
  if (native === undefined) Reflect.deleteProperty(Promise, 'withResolvers')
  else Object.defineProperty(Promise, 'withResolvers', native)
})

test('Promise.withResolvers is there where Node lacks it, and settles its promise', async () => {
  Reflect.deleteProperty(Promise, 'withResolvers')
  await import('../../../src/core/polyfill.js')
  const kept = Promise.withResolvers<number>()
  kept.resolve(7)
  await expect(kept.promise).resolves.toBe(7)
  const broken = Promise.withResolvers<number>()
  broken.reject(new Error('no'))
  await expect(broken.promise).rejects.toThrow('no')
})

test('it makes promises of the class it is called on', async () => {
  Reflect.deleteProperty(Promise, 'withResolvers')
  await import('../../../src/core/polyfill.js')
  class Special<T> extends Promise<T> {}
  expect(Special.withResolvers<number>().promise).toBeInstanceOf(Special)
})

test("Node's own is left alone, and the property is not enumerable", async () => {
  const own = function own() {}
  Object.defineProperty(Promise, 'withResolvers', { configurable: true, writable: true, value: own })
  await import('../../../src/core/polyfill.js')
  expect(Object.getOwnPropertyDescriptor(Promise, 'withResolvers')?.value).toBe(own)
  expect(Object.keys(Promise)).not.toContain('withResolvers')
})
