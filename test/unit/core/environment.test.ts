import { afterEach, expect, test, vi } from 'vitest'
import { every, jittered, sleep, systemEnvironment } from '../../../src/core/environment.js'
import { seededRandom, virtualEnvironment } from '../../support/virtual-clock.js'

const half = { bytes: (length: number) => new Uint8Array(length), float: () => 0.5 }

afterEach(() => {
  vi.useRealTimers()
})

test('sleep waits as long as it says', async () => {
  const { clock } = virtualEnvironment(1)
  let awake = false
  const sleeping = sleep(clock, 100).then(() => (awake = true))
  await clock.advance(99)
  expect(awake).toBe(false)
  await clock.advance(1)
  await sleeping
})

test('sleep ends with the signal and leaves no timer', async () => {
  const { clock } = virtualEnvironment(1)
  const controller = new AbortController()
  const sleeping = sleep(clock, 100, controller.signal)
  controller.abort()
  await expect(sleeping).rejects.toMatchObject({ code: 'ABORTED' })
  await expect(sleep(clock, 100, AbortSignal.abort())).rejects.toMatchObject({ code: 'ABORTED' })
  expect(clock.pending).toBe(0)
})

test('a period moves by at most a quarter', () => {
  const random = seededRandom(3)
  const periods = Array.from({ length: 1000 }, () => jittered(random, 100))
  expect(Math.min(...periods)).toBeGreaterThanOrEqual(75)
  expect(Math.max(...periods)).toBeLessThanOrEqual(125)
  expect(Math.max(...periods) - Math.min(...periods)).toBeGreaterThan(40)
})

test('every runs again a period after the end of the run before, until cancelled', async () => {
  const { clock } = virtualEnvironment(1)
  const times: number[] = []
  const timer = every({ clock, random: half }, 100, async () => {
    times.push(clock.monotonic())
    await sleep(clock, 30)
  })
  await clock.advance(500)
  expect(times).toEqual([100, 230, 360, 490])
  timer.cancel()
  await clock.advance(500)
  expect(times).toHaveLength(4)
  expect(clock.pending).toBe(0)
})

test('every that is cancelled during a run does not run again', async () => {
  const { clock } = virtualEnvironment(1)
  let runs = 0
  const timer = every({ clock, random: half }, 100, () => {
    runs += 1
    timer.cancel()
  })
  await clock.advance(1000)
  expect(runs).toBe(1)
})

test('the system clock goes on and does not keep the process alive', async () => {
  const { clock, random } = systemEnvironment
  const before = clock.monotonic()
  await new Promise<void>((resolve) => clock.setTimer(1, resolve))
  expect(clock.monotonic()).toBeGreaterThan(before)
  expect(Math.abs(clock.now() - Date.now())).toBeLessThan(1000)
  expect(random.bytes(16)).toHaveLength(16)
  expect(random.bytes(16)).not.toEqual(random.bytes(16))
})

test('a timer of more than 25 days does not fire at once, and fires in time', () => {
  vi.useFakeTimers()
  const days = 24 * 3600 * 1000
  let fired = false
  const timer = systemEnvironment.clock.setTimer(60 * days, () => (fired = true))
  vi.advanceTimersByTime(60 * days - 1)
  expect(fired).toBe(false)
  vi.advanceTimersByTime(1)
  expect(fired).toBe(true)
  timer.cancel()
  const cancelled = systemEnvironment.clock.setTimer(60 * days, () => expect.unreachable())
  vi.advanceTimersByTime(30 * days)
  cancelled.cancel()
  expect(vi.getTimerCount()).toBe(0)
})
