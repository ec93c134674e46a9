import '../../../src/core/polyfill.js'
import { expect, test } from 'vitest'
import { errorCode } from '../../../src/core/errors.js'
import type { TransferPriority } from '../../../src/rollout/intent.js'
import { TransferSlots } from '../../../src/rollout/transfer-slots.js'

/** Slots whose tasks run until they are told to end. */
class Bench {
  readonly slots: TransferSlots
  readonly begun: string[] = []
  readonly #ends = new Map<string, () => void>()

  constructor(capacity: number) {
    this.slots = new TransferSlots(capacity)
  }

  run(name: string, priority: TransferPriority, signal = new AbortController().signal): Promise<unknown> {
    return this.slots.run(priority, signal, () => this.#work(name)).catch(errorCode)
  }

  async end(name: string): Promise<void> {
    this.#ends.get(name)?.()
    await settled()
  }

  #work(name: string): Promise<string> {
    this.begun.push(name)
    return new Promise((resolve) => this.#ends.set(name, () => resolve(name)))
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('[ROLL-19] the most urgent transfer comes first, and among equals the one that came first', async () => {
  const bench = new Bench(1)
  for (const [name, priority] of [
    ['first', 'low'],
    ['low', 'low'],
    ['normal 1', 'normal'],
    ['critical', 'critical'],
    ['normal 2', 'normal'],
    ['high', 'high']
  ] as const) {
    void bench.run(name, priority)
  }
  await settled()
  for (const name of ['first', 'critical', 'high', 'normal 1', 'normal 2', 'low']) await bench.end(name)
  expect(bench.begun).toEqual(['first', 'critical', 'high', 'normal 1', 'normal 2', 'low'])
})

test('[ROLL-19] as many run as there are slots, and a task that fails gives its slot back', async () => {
  const bench = new Bench(2)
  const failing = bench.slots.run('normal', new AbortController().signal, () => Promise.reject(new Error('no')))
  await expect(failing).rejects.toThrow('no')
  for (const name of ['a', 'b', 'c']) void bench.run(name, 'normal')
  await settled()
  expect(bench.begun).toEqual(['a', 'b'])
  await bench.end('a')
  expect(bench.begun).toEqual(['a', 'b', 'c'])
})

test('[ROLL-19] whoever is aborted while waiting leaves the queue', async () => {
  const bench = new Bench(1)
  const controller = new AbortController()
  void bench.run('first', 'normal')
  const waiting = bench.run('waiting', 'critical', controller.signal)
  void bench.run('last', 'low')
  controller.abort()
  expect(await waiting).toBe('ABORTED')
  await bench.end('first')
  expect(bench.begun).toEqual(['first', 'last'])
  const late = bench.run('late', 'normal', controller.signal)
  expect(await late).toBe('ABORTED')
})

test('[ROLL-19] an abort at any moment around the grant loses no slot, and no task begins after it', async () => {
  const outcomes = new Set<string>()
  for (let ticks = 0; ticks < 10; ticks++) {
    const slots = new TransferSlots(1)
    const controller = new AbortController()
    const first = Promise.withResolvers<void>()
    void slots.run('normal', new AbortController().signal, () => first.promise)
    let [begun, aborted] = [false, false]
    const unlucky = slots.run('normal', controller.signal, () => {
      expect(aborted).toBe(false)
      begun = true
      return Promise.resolve()
    })
    const outcome = unlucky.then(() => 'ran', errorCode)
    await settled()
    first.resolve()
    for (let tick = 0; tick < ticks; tick++) await Promise.resolve()
    aborted = true
    controller.abort()
    outcomes.add(`${await outcome} ${begun ? 'begun' : 'not begun'}`)
    expect(await slots.run('low', new AbortController().signal, () => Promise.resolve('free'))).toBe('free')
  }
  expect(outcomes).toEqual(new Set(['ABORTED not begun', 'ran begun']))
})
