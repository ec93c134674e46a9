import '../../../src/core/polyfill.js'
import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { abortedError, raceSignal, throwIfAborted, withDeadline } from '../../../src/core/abort.js'
import { MurmurateError } from '../../../src/core/errors.js'
import { VirtualClock } from '../../support/virtual-clock.js'
import { caught } from './caught.js'

const never = new Promise<never>(() => {})
const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length

test('throwIfAborted throws only when the signal has fired', () => {
  throwIfAborted()
  throwIfAborted(new AbortController().signal)
  expect(caught(() => throwIfAborted(AbortSignal.abort()))?.code).toBe('ABORTED')
})

test('a reason of the library is handed on, any other becomes the cause', () => {
  const own = new MurmurateError('TIMEOUT', 'late')
  expect(abortedError(AbortSignal.abort(own))).toBe(own)
  const foreign = new Error('user left')
  expect(abortedError(AbortSignal.abort(foreign))).toMatchObject({ code: 'ABORTED', cause: foreign })
})

test('raceSignal settles as the promise does and leaves no listener behind', async () => {
  const { signal } = new AbortController()
  await expect(raceSignal(Promise.resolve(1), signal)).resolves.toBe(1)
  await expect(raceSignal(Promise.reject(new Error('own')), signal)).rejects.toThrow('own')
  expect(listeners(signal)).toBe(0)
})

test('raceSignal rejects when the signal fires, before or during', async () => {
  await expect(raceSignal(never, AbortSignal.abort())).rejects.toMatchObject({ code: 'ABORTED' })
  const controller = new AbortController()
  const race = raceSignal(never, controller.signal)
  controller.abort()
  await expect(race).rejects.toMatchObject({ code: 'ABORTED' })
  expect(listeners(controller.signal)).toBe(0)
})

test('the rejection of the loser is swallowed', async () => {
  const { promise, reject } = Promise.withResolvers<never>()
  await expect(raceSignal(promise, AbortSignal.abort())).rejects.toMatchObject({ code: 'ABORTED' })
  // vitest fails the run on an unhandled rejection.
  reject(new Error('too late'))
  await new Promise((resolve) => setImmediate(resolve))
})

test('withDeadline rejects with TIMEOUT even when the task ignores its signal', async () => {
  const clock = new VirtualClock()
  let inner: AbortSignal | undefined
  const task = withDeadline(
    clock,
    50,
    (signal) => {
      inner = signal
      return never
    },
    { what: 'The copy' }
  )
  const outcome = expect(task).rejects.toMatchObject({
    code: 'TIMEOUT',
    message: 'The copy did not end within 50 ms',
    details: { timeoutMs: 50 }
  })
  await clock.advance(49)
  expect(inner?.aborted).toBe(false)
  await clock.advance(1)
  await outcome
  expect(inner?.aborted).toBe(true)
})

test('withDeadline hands on what the task does, and cleans up', async () => {
  const clock = new VirtualClock()
  const outer = new AbortController()
  const options = { signal: outer.signal }
  await expect(withDeadline(clock, 50, () => Promise.resolve('done'), options)).resolves.toBe('done')
  await expect(withDeadline(clock, 50, () => Promise.reject(new Error('own')), options)).rejects.toThrow('own')
  const throwing = (): Promise<never> => {
    throw new Error('at once')
  }
  await expect(withDeadline(clock, 50, throwing, options)).rejects.toThrow('at once')
  expect(clock.pending).toBe(0)
  expect(listeners(outer.signal)).toBe(0)
})

test('withDeadline fires its signal with the outer one', async () => {
  const clock = new VirtualClock()
  const outer = new AbortController()
  const reason = new MurmurateError('NOT_STARTED', 'stopping')
  let inner: AbortSignal | undefined
  const task = withDeadline(
    clock,
    50,
    (signal) => {
      inner = signal
      return never
    },
    { signal: outer.signal }
  )
  outer.abort(reason)
  await expect(task).rejects.toBe(reason)
  expect(inner?.aborted).toBe(true)
  expect(clock.pending).toBe(0)
})

test('under a signal that has fired, the task is not begun', async () => {
  let begun = false
  const task = async (): Promise<void> => void (begun = true)
  const options = { signal: AbortSignal.abort() }
  await expect(withDeadline(new VirtualClock(), 50, task, options)).rejects.toMatchObject({ code: 'ABORTED' })
  expect(begun).toBe(false)
})
