import { expect, test } from 'vitest'
import { Lifecycle, type Startable } from '../../../src/core/lifecycle.js'
import { silentLogger } from '../../../src/core/logger.js'

interface Failures {
  readonly onStart?: string
  readonly onStop?: string
}

function build(
  names: readonly string[],
  failures: Failures = {}
): { lifecycle: Lifecycle; calls: string[]; logged: string[] } {
  const calls: string[] = []
  const logged: string[] = []
  const part = (name: string): readonly [string, Startable] => [
    name,
    {
      async start() {
        await Promise.resolve()
        calls.push(`+${name}`)
        if (name === failures.onStart) throw new Error(`${name} does not start`)
      },
      async stop() {
        await Promise.resolve()
        calls.push(`-${name}`)
        if (name === failures.onStop) throw new Error(`${name} does not stop`)
      }
    }
  ]
  const logger = { ...silentLogger, error: (message: string) => void logged.push(message) }
  return { lifecycle: new Lifecycle(names.map(part), logger), calls, logged }
}

test('parts start in order and stop in reverse', async () => {
  const { lifecycle, calls } = build(['a', 'b', 'c'])
  expect(lifecycle.started).toBe(false)
  await lifecycle.start()
  expect(lifecycle.started).toBe(true)
  await lifecycle.stop()
  expect(lifecycle.started).toBe(false)
  expect(calls).toEqual(['+a', '+b', '+c', '-c', '-b', '-a'])
})

test('when a part fails to start, those before it are stopped and the error is rethrown', async () => {
  const { lifecycle, calls } = build(['a', 'b', 'c'], { onStart: 'c' })
  await expect(lifecycle.start()).rejects.toThrow('c does not start')
  expect(calls).toEqual(['+a', '+b', '+c', '-b', '-a'])
  expect(lifecycle.started).toBe(false)
  await lifecycle.stop()
  expect(calls).toHaveLength(5)
})

test('a failure during the roll-back is logged and does not hide the first error', async () => {
  const { lifecycle, calls, logged } = build(['a', 'b', 'c'], { onStart: 'c', onStop: 'b' })
  await expect(lifecycle.start()).rejects.toThrow('c does not start')
  expect(calls.at(-1)).toBe('-a')
  expect(logged).toEqual(['stopping b failed: b does not stop'])
})

test('every part is stopped even when one throws; then the error is rethrown', async () => {
  const { lifecycle, calls } = build(['a', 'b', 'c'], { onStop: 'b' })
  await lifecycle.start()
  await expect(lifecycle.stop()).rejects.toThrow('b does not stop')
  expect(calls.slice(3)).toEqual(['-c', '-b', '-a'])
  await lifecycle.stop()
  expect(calls).toHaveLength(6)
})

test('start and stop are idempotent, and harmless when never started', async () => {
  const { lifecycle, calls } = build(['a'])
  await lifecycle.stop()
  await lifecycle.start()
  await lifecycle.start()
  await lifecycle.stop()
  await lifecycle.stop()
  expect(calls).toEqual(['+a', '-a'])
})

test('it starts again after a stop', async () => {
  const { lifecycle, calls } = build(['a'])
  await lifecycle.start()
  await lifecycle.stop()
  await lifecycle.start()
  expect(calls).toEqual(['+a', '-a', '+a'])
  expect(lifecycle.started).toBe(true)
})

test('starts and stops called at once run one after the other', async () => {
  const { lifecycle, calls } = build(['a', 'b'])
  await Promise.all([lifecycle.start(), lifecycle.stop(), lifecycle.start(), lifecycle.start()])
  expect(calls).toEqual(['+a', '+b', '-b', '-a', '+a', '+b'])
})

test('a start that failed does not stand in the way of the next call', async () => {
  const { lifecycle } = build(['a'], { onStart: 'a' })
  await expect(Promise.all([lifecycle.start(), lifecycle.stop()])).rejects.toThrow('a does not start')
  await expect(lifecycle.start()).rejects.toThrow('a does not start')
})
