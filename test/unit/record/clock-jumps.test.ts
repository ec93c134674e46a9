import { expect, test } from 'vitest'
import type { Clock, Environment } from '../../../src/core/environment.js'
import { noteKind, notePage } from './fixtures.js'
import { agree, Mesh, type RecordNode } from './mesh.js'
import { virtualEnvironment } from '../../support/virtual-clock.js'

const dayMs = 24 * 3600 * 1000

/** A clock whose time of day can be set wrong; what it measures stays right, as with a real one. */
function wrongClock(clock: Clock): Clock & { errorMs: number } {
  return {
    errorMs: 0,
    now() {
      return clock.now() + this.errorMs
    },
    monotonic: () => clock.monotonic(),
    setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback)
  }
}

test.each([
  ['ahead', dayMs],
  ['behind', -dayMs],
  ['before 1970', -100 * 365 * dayMs]
])('[REC-76] a clock that jumps a day %s changes neither order nor agreement', async (_, jumpMs) => {
  const environment = virtualEnvironment(1)
  const { clock } = environment
  const jumping = wrongClock(clock)
  const mesh = new Mesh(environment)
  // The same air, another clock.
  const other: Mesh<Environment> = Object.assign(new Mesh<Environment>({ ...environment, clock: jumping }), {
    hub: mesh.hub
  })
  const [one, jumper] = [await mesh.node(0), await other.node(1)]
  for (const node of [one, jumper]) await node.start()
  await clock.advance(200)
  const write = (node: RecordNode, text: string): Promise<void> =>
    clock.run(node.document.write(noteKind, notePage, { text }))
  const seen = (): string[] => one.document.entries(noteKind, notePage).map(({ seq, body }) => `${seq} ${body.text}`)
  await write(jumper, 'before')
  await write(one, 'one')
  jumping.errorMs = jumpMs
  await write(jumper, 'after')
  await clock.advance(60_000)
  expect(seen().toSorted((a, b) => (a < b ? -1 : 1))).toEqual(['0 one', '1 after'])
  jumping.errorMs = 0
  await write(jumper, 'back')
  await clock.advance(60_000)
  expect(seen().toSorted((a, b) => (a < b ? -1 : 1))).toEqual(['0 one', '2 back'])
  expect(agree([one, jumper])).toBe(true)
  const disk = jumper.disk
  jumping.errorMs = -jumpMs
  await clock.run(jumper.stop())
  const again = await other.node(1, { disk })
  await again.start()
  await clock.run(again.document.write(noteKind, notePage, { text: 'restarted' }))
  await clock.advance(60_000)
  expect(seen().toSorted((a, b) => (a < b ? -1 : 1))).toEqual(['0 one', '3 restarted'])
  expect(agree([one, again])).toBe(true)
})
