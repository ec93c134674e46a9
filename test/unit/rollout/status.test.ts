import '../../../src/core/polyfill.js'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { encode } from '../../../src/core/codec.js'
import { parseRolloutId, parseVersion, rolloutIdFrom, type PageId } from '../../../src/core/ids.js'
import type { Entry } from '../../../src/record/entry.js'
import {
  advance,
  blockerReasons,
  noStatus,
  phases,
  StatusIndex,
  statusKind,
  statusPage,
  type StatusBody
} from '../../../src/rollout/status.js'
import { nodeModelStatus } from '../../../src/rollout/node-model-status.js'
import { model } from '../../support/rollout-fleet.js'
import { keyPairOf } from '../record/fixtures.js'

const target = { rollout: rolloutIdFrom(new Uint8Array(16)), version: parseVersion('2.0.0'), variant: null }
const other = { ...target, rollout: parseRolloutId('6f9619ff-8b86-4d01-b42d-00cf4fc964ff') }
const blocker = {
  reason: 'insufficientStorage',
  message: 'short of 5',
  required: 9,
  available: 4,
  unit: 'bytes'
} as const

test('[ROLL-5] a blocker keeps its since while its reason stays, whatever its numbers, and loses it with the reason', () => {
  const first = advance(noStatus, { phase: 'queued', target, blocker }, 1000)
  const second = advance(first, { phase: 'queued', blocker: { ...blocker, available: 5, message: 'short of 4' } }, 2000)
  const third = advance(second, { phase: 'queued', blocker: { reason: 'nodeBusy', message: 'not now' } }, 3000)
  const fourth = advance(advance(third, { phase: 'downloading' }, 4000), { phase: 'queued', blocker }, 5000)
  expect([first, second, third, fourth].map((status) => status.blocker?.since)).toEqual([1000, 1000, 3000, 5000])
  expect(second.blocker).toMatchObject({ available: 5, message: 'short of 4' })
  expect(advance(first, { phase: 'downloading' }, 2000).blocker).toBeUndefined()
})

test('[ROLL-5] since tells when the phase began; a step within it changes nothing but what it says', () => {
  const first = advance(noStatus, { phase: 'queued', target }, 1000)
  const same = advance(first, { phase: 'queued', attempt: 2 }, 2000)
  const next = advance(first, { phase: 'queued', target: other }, 3000)
  expect([first.since, same.since, next.since]).toEqual([1000, 1000, 3000])
  expect([first, same, next].map(({ history }) => history.length)).toEqual([1, 1, 2])
})

test('[ROLL-5] any change makes a status of the right form: history of 8, whole milliseconds, messages cut', () => {
  const change = fc.record(
    {
      phase: fc.constantFrom(...phases),
      target: fc.constantFrom(null, target, other),
      attempt: fc.nat(),
      blocker: fc.record({
        reason: fc.constantFrom(...blockerReasons),
        message: fc.string({ maxLength: 2000, unit: 'grapheme' })
      })
    },
    { requiredKeys: ['phase'] }
  )
  fc.assert(
    fc.property(
      fc.array(fc.tuple(change, fc.double({ min: 0, max: 1e13, noNaN: true })), { minLength: 1 }),
      (steps) => {
        const status = steps.reduce<StatusBody>((before, [step, now]) => advance(before, step, now), noStatus)
        expect(statusKind.schema.parse(status)).toBeDefined()
        expect(status.history.length).toBeLessThanOrEqual(8)
        expect(() => encode(status)).not.toThrow()
      }
    )
  )
})

test('[ROLL-5] each status is found by model and node; a later one of the same node takes its place', async () => {
  const [one, two] = [(await keyPairOf(1)).nodeId, (await keyPairOf(2)).nodeId]
  const index = new StatusIndex()
  const entry = (writer: typeof one, body: StatusBody): Entry<StatusBody> => {
    return { page: statusPage(model, writer), writer, epoch: 0, seq: 0, issuedAt: 7, body }
  }
  const first = advance(noStatus, { phase: 'downloading', target }, 1000)
  expect(index.learn([entry(one, first), entry(two, noStatus)])).toEqual(new Map([[model, [one, two]]]))
  const second = advance(first, { phase: 'failed' }, 2000)
  index.learn([entry(one, second)])
  expect(index.of(model).size).toBe(2)
  expect(index.get(model, one)).toEqual({ nodeId: one, body: second, updatedAt: 7 })
})

test('[ROLL-5] a node that has never finished an install is visible with what it is doing (a3)', async () => {
  const nodeId = (await keyPairOf(1)).nodeId
  const body = advance(noStatus, { phase: 'downloading', target, attempt: 1 }, 1000)
  const shown = nodeModelStatus(model, { nodeId, body, updatedAt: 1000 })
  expect(shown).toEqual({
    nodeId,
    modelId: model,
    operationalStatus: 'downloading',
    phase: 'downloading',
    targetVersion: '2.0.0',
    lastUpdated: 1000
  })
})

test('[ROLL-5] only a node itself may write its status, on its own page', async () => {
  const [one, two] = [(await keyPairOf(1)).nodeId, (await keyPairOf(2)).nodeId]
  const page = statusPage(model, one)
  expect(statusKind.isPage(page)).toBe(true)
  expect(statusKind.mayWrite(page, one, noStatus)).toBe(true)
  expect(statusKind.mayWrite('status/detector/64' as PageId, one, noStatus)).toBe(false)
  expect(statusPage(model, two)).not.toBe(page)
  expect(statusKind.mayWrite(page, two, noStatus)).toBe(false)
})
