import { expect, test } from 'vitest'
import type { NodeId } from '../../../src/core/ids.js'
import { FailureDetector, type DetectorAction } from '../../../src/fleet/failure-detector.js'
import { presenceDefaults, presencePresets } from '../../../src/fleet/presence-presets.js'
import { Topology } from '../../../src/fleet/topology.js'
import { nodeIdOf } from '../../../src/identity/node-id.js'
import { seededRandom } from '../../support/virtual-clock.js'

const idOf = (number: number): NodeId => nodeIdOf(new Uint8Array(32).fill(number))
const [self, peer, ...helpers] = [1, 2, 3, 4, 5].map(idOf) as [NodeId, NodeId, NodeId, NodeId, NodeId]
const { lan } = presencePresets

/** A detector that watches one peer, heard at 0; what it does, and when. */
class Bench {
  readonly topology = new Topology()
  readonly helpers = [...helpers]
  readonly detector = new FailureDetector({
    self,
    preset: lan,
    random: seededRandom(1),
    topology: this.topology,
    isLinked: () => true,
    helpersFor: () => this.helpers
  })
  readonly log: (readonly [at: number, action: DetectorAction])[] = []
  now = 0

  constructor() {
    this.detector.watch([peer], 0)
    this.detector.tick(0)
    this.detector.heard(peer, 0)
    this.detector.takeActions()
  }

  /** Lets time pass, in steps of 10 ms. */
  advance(ms: number): DetectorAction[] {
    const before = this.log.length
    for (const end = this.now + ms; this.now < end; this.now += 10) {
      this.detector.tick(this.now)
      this.collect()
    }
    return this.log.slice(before).map(([, action]) => action)
  }

  collect(): void {
    for (const action of this.detector.takeActions()) this.log.push([this.now, action])
  }

  /** Answers all questions that were asked and not answered. */
  answerAll(silentMs: number | undefined): void {
    for (const [, action] of this.log) {
      if (action.type === 'ask') this.detector.answered(action.peer, action.id, silentMs, this.now)
    }
    this.collect()
  }

  firstAt(type: DetectorAction['type']): number | undefined {
    return this.log.find(([, action]) => action.type === type)?.[0]
  }
}

test('[FLEET-32] a silent peer is pinged, then helpers are asked, and it is accused only when none of them hears it', () => {
  const bench = new Bench()
  bench.advance(3_600)
  const pingAt = bench.firstAt('ping') ?? expect.unreachable()
  expect(pingAt).toBeLessThanOrEqual(lan.pingMs)
  expect((bench.firstAt('ask') ?? 0) - pingAt).toBe(1_000)
  expect(bench.log.filter(([, { type }]) => type === 'ask').map(([, action]) => action.peer)).toEqual(helpers)
  bench.answerAll(undefined)
  bench.advance(2_000)
  expect((bench.firstAt('accuse') ?? 0) - pingAt).toBe(2_000)
})

test('[FLEET-32] one helper that hears the peer is enough: nobody is accused', () => {
  const bench = new Bench()
  for (let round = 0; round < 20; round++) {
    bench.advance(500)
    bench.answerAll(0)
  }
  expect(bench.firstAt('ask')).toBeDefined()
  expect(bench.firstAt('accuse')).toBeUndefined()
  expect(bench.detector.impairment(peer, bench.now)).toBe('incoming')
})

test('[FLEET-32] a helper that heard it before it was asked proves nothing', () => {
  const bench = new Bench()
  bench.advance(3_600)
  bench.answerAll(1_500)
  bench.advance(2_000)
  expect(bench.firstAt('accuse')).toBeDefined()
})

test('[FLEET-32] a long round trip makes for more patience', () => {
  const bench = new Bench()
  bench.topology.observeRoundTrip(peer, 3_000)
  bench.advance(8_000)
  bench.answerAll(undefined)
  expect(bench.firstAt('accuse')).toBeUndefined()
  bench.advance(12_000)
  expect(bench.firstAt('accuse')).toBeGreaterThan(9_000)
})

test('[FLEET-33] when no helper answers, the fault may be here: this node doubts itself, and waits longer', () => {
  const bench = new Bench()
  bench.advance(6_000)
  expect(bench.detector.localHealth).toBe(1)
  expect(bench.firstAt('accuse')).toBeUndefined()
  for (let count = 0; count < 20; count++) bench.detector.doubtSelf()
  expect(bench.detector.localHealth).toBe(7)
  bench.advance(12_000)
  expect(bench.firstAt('accuse')).toBeUndefined()
})

test('[FLEET-33] after each good round it doubts itself less', () => {
  const bench = new Bench()
  bench.detector.doubtSelf()
  bench.detector.doubtSelf()
  for (let at = 0; at < 12_000; at += 100) {
    bench.detector.heard(peer, bench.now)
    bench.advance(100)
  }
  expect(bench.detector.localHealth).toBe(0)
})

test('[FLEET-21] a link lost without goodbye is looked into at once by who watched; a refusal is hard evidence', () => {
  const bench = new Bench()
  bench.detector.linkLost(peer, 0)
  expect(bench.advance(10).map(({ type }) => type)).toContain('probe')
  bench.detector.probed(peer, 'refused', bench.now)
  bench.collect()
  expect(bench.log.at(-1)?.[1]).toEqual({ type: 'accuse', peer, hard: true })
})

test('[FLEET-21] who did not watch looks too, later, in case no watcher is left', () => {
  const bench = new Bench()
  const other = idOf(9)
  bench.detector.linkLost(other, 0)
  bench.advance(10_000)
  const probe = bench.log.find(([, action]) => action.type === 'probe' && action.peer === other)
  expect(probe?.[0]).toBeGreaterThanOrEqual(lan.silenceMs)
  expect(probe?.[0]).toBeLessThanOrEqual(2 * lan.silenceMs)
})

test('[FLEET-21] a lost link to a machine that answers is no evidence, and none at all as long as a helper hears the peer', () => {
  const bench = new Bench()
  bench.detector.linkLost(peer, 0)
  bench.advance(10)
  bench.detector.probed(peer, 'answers', bench.now)
  for (let second = 0; second < 60; second++) {
    bench.answerAll(0)
    bench.advance(1_000)
  }
  expect(bench.firstAt('accuse')).toBeUndefined()
  // It is looked for a few times more, not for ever.
  expect(bench.log.filter(([, { type }]) => type === 'probe').length).toBe(1 + presenceDefaults.looksAfterLoss)
})

test('[FLEET-26] whoever loses its helpers after they heard a lost peer looks again, and finds nobody', () => {
  const bench = new Bench()
  bench.detector.linkLost(peer, 0)
  bench.advance(10)
  bench.answerAll(0)
  bench.helpers.splice(0)
  bench.advance(20_000)
  expect(bench.firstAt('accuse')).toBeDefined()
})

test('[FLEET-34] a neighbour that asks gets its answer when the target is heard, or when the time is over', () => {
  const bench = new Bench()
  bench.detector.asked(helpers[0], 7, peer, 0)
  bench.collect()
  expect(bench.log.map(([, { type }]) => type)).toEqual(['ping'])
  bench.detector.heard(peer, 10)
  bench.collect()
  expect(bench.log.at(-1)?.[1]).toEqual({ type: 'answer', peer: helpers[0], id: 7, silentMs: 0 })
  bench.detector.asked(helpers[0], 8, peer, 10)
  bench.advance(1_100)
  const answer = bench.log.map(([, action]) => action).findLast(({ type }) => type === 'answer')
  expect(answer).toMatchObject({ id: 8, silentMs: expect.closeTo(1_000, -2) as number })
})

test('[FLEET-34] whoever asks without end gets answers to 8 questions at a time', () => {
  const bench = new Bench()
  for (let id = 0; id < 100; id++) bench.detector.asked(helpers[0], id, peer, 0)
  bench.detector.heard(peer, 1)
  bench.collect()
  expect(bench.log.filter(([, { type }]) => type === 'answer')).toHaveLength(8)
})

test('[FLEET-27] a peer that says it is deaf to this node shows the way that does not work', () => {
  const bench = new Bench()
  bench.detector.pinged(peer, 5_000)
  expect(bench.detector.impairment(peer, 10)).toBe('outgoing')
  bench.detector.pinged(peer, 100)
  expect(bench.detector.impairment(peer, 10)).toBeUndefined()
})
