import { describe, expect, test } from 'vitest'
import { sleep, type Random } from '../../../src/core/environment.js'
import { seededRandom, VirtualClock } from '../../support/virtual-clock.js'

describe('the virtual clock', () => {
  test('runs timers in order of their time, then of their age', async () => {
    const clock = new VirtualClock()
    const order: string[] = []
    clock.setTimer(30, () => order.push('c'))
    clock.setTimer(10, () => order.push('a'))
    clock.setTimer(10, () => order.push('b'))
    clock.setTimer(31, () => order.push('late'))
    await clock.advance(30)
    expect(order).toEqual(['a', 'b', 'c'])
    expect(clock.monotonic()).toBe(30)
    expect(clock.pending).toBe(1)
  })

  test('is in order with a thousand random timers', async () => {
    const clock = new VirtualClock()
    const random = seededRandom(7)
    const ran: number[] = []
    for (let count = 0; count < 1000; count++) {
      const delay = Math.floor(random.float() * 500)
      clock.setTimer(delay, () => ran.push(clock.monotonic() === delay ? delay : NaN))
    }
    await clock.advance(500)
    expect(ran).toHaveLength(1000)
    expect(ran).toEqual([...ran].sort((a, b) => a - b))
  })

  test('lets promises run between timers, and runs what they schedule', async () => {
    const clock = new VirtualClock()
    const moments: number[] = []
    const walk = async (): Promise<void> => {
      for (let step = 0; step < 3; step++) {
        await sleep(clock, 10)
        moments.push(clock.monotonic())
      }
    }
    const walking = walk()
    await clock.advance(100)
    await walking
    expect(moments).toEqual([10, 20, 30])
    expect(clock.monotonic()).toBe(100)
  })

  test('with a resolution, timers run at whole multiples of it, never early, in the order they were set', async () => {
    const clock = new VirtualClock({ resolutionMs: 10 })
    const order: string[] = []
    for (const delayMs of [19, 11, 20, 21]) clock.setTimer(delayMs, () => order.push(`${delayMs} ${clock.monotonic()}`))
    await clock.advance(100)
    expect(order).toEqual(['19 20', '11 20', '20 20', '21 30'])
  })

  test('a cancelled timer does not run, and cancelling twice is harmless', async () => {
    const clock = new VirtualClock()
    let ran = false
    const timer = clock.setTimer(5, () => (ran = true))
    timer.cancel()
    timer.cancel()
    await clock.advance(10)
    expect([ran, clock.pending]).toEqual([false, 0])
  })

  test('run() advances until a promise settles, and not for ever', async () => {
    const clock = new VirtualClock()
    await clock.run(sleep(clock, 1234))
    expect(clock.monotonic()).toBe(1234)
    await expect(clock.run(new Promise(() => {}))).rejects.toThrow('Not settled')
  })

  test('the same seed gives the same chance, another seed another one', () => {
    const draw = (random: Random): number[] => Array.from({ length: 5 }, () => random.float())
    expect(draw(seededRandom(1))).toEqual(draw(seededRandom(1)))
    expect(draw(seededRandom(1))).not.toEqual(draw(seededRandom(2)))
    expect([...seededRandom(3).bytes(4)]).toEqual([...seededRandom(3).bytes(4)])
  })
})
