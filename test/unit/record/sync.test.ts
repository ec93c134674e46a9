import { expect, test } from 'vitest'
import { parsePageId } from '../../../src/core/ids.js'
import { stoneKind, stonePage } from './fixtures.js'
import { agree, deaf, started, textsOf, virtualMesh, write } from './mesh.js'

test('two nodes converge by gossip, long before a timer fires', async () => {
  const mesh = virtualMesh(1)
  const [one, two] = await started(mesh, 2)
  await mesh.environment.clock.run(Promise.all([write(one, 'one'), write(two, 'two')]))
  await mesh.environment.clock.advance(150)
  expect(textsOf(one)).toEqual(['one', 'two'])
  expect(agree([one, two])).toBe(true)
})

test('[REC-40] what gossip loses comes by anti-entropy with the timer', async () => {
  const mesh = virtualMesh(1, deaf)
  const [one, two, three] = await started(mesh, 3)
  if (three === undefined) return expect.unreachable()
  await mesh.environment.clock.run(Promise.all([write(one, 'one'), write(two, 'two')]))
  await mesh.environment.clock.advance(1000)
  expect(agree([one, two, three])).toBe(false)
  await mesh.environment.clock.advance(60_000)
  expect(agree([one, two, three])).toBe(true)
  expect(textsOf(three)).toEqual(['one', 'two'])
})

test('[REC-41] a node that was cut off has everything as soon as a link is back', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2, { init: { syncPeriodMs: 1e9 } })
  mesh.hub.isolate(one.keyPair.nodeId)
  await clock.advance(100)
  for (let number = 0; number < 5; number++) {
    await clock.run(Promise.all([write(one, `one ${number}`), write(two, `two ${number}`)]))
  }
  await clock.advance(60_000)
  expect(agree([one, two])).toBe(false)
  mesh.hub.heal(one.keyPair.nodeId)
  await clock.advance(500)
  expect(textsOf(one)).toEqual(['one 4', 'two 4'])
  expect(agree([one, two])).toBe(true)
})

test.each([
  [0, 7],
  [7, 0]
])(
  '[REC-41] a late joiner gets everything at once, whichever of the two has the lower id (%i, %i)',
  async (early, late) => {
    const mesh = virtualMesh(1, deaf)
    const { clock } = mesh.environment
    const first = await mesh.node(early, { init: { syncPeriodMs: 1e9 } })
    await first.start()
    for (let number = 0; number < 40; number++) await clock.run(write(first, 'x', parsePageId(`note/${number}`)))
    const second = await mesh.node(late, { init: { syncPeriodMs: 1e9 } })
    await second.start()
    await clock.advance(500)
    expect(agree([first, second])).toBe(true)
    expect(textsOf(second)).toHaveLength(40)
  }
)

test.each([
  [0, 7],
  [7, 0]
])('[REC-41] so does one whose link was up before its document was (%i, %i)', async (early, late) => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const first = await mesh.node(early, { init: { syncPeriodMs: 1e9 } })
  await first.start()
  await clock.run(write(first, 'x'))
  const second = await mesh.node(late, { init: { syncPeriodMs: 1e9 } })
  second.network.start()
  await clock.advance(1000)
  await second.document.start()
  await clock.advance(500)
  expect(agree([first, second])).toBe(true)
})

test('[REC-46] what is larger than a message is sent in several, both ways', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2)
  mesh.hub.isolate(one.keyPair.nodeId)
  const long = 'x'.repeat(60_000)
  for (let number = 0; number < 12; number++) {
    await clock.run(
      Promise.all([write(one, long, parsePageId(`note/a${number}`)), write(two, long, parsePageId(`note/b${number}`))])
    )
  }
  mesh.hub.heal(one.keyPair.nodeId)
  await clock.advance(3000)
  expect(agree([one, two])).toBe(true)
  expect(textsOf(one)).toHaveLength(24)
})

test('[REC-48] pages of a kind that a node does not know are not sent to it again and again', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1)
  const old = await mesh.node(5, { isOld: true })
  await old.start()
  await clock.run(one.document.write(stoneKind, stonePage, { text: 'x'.repeat(10_000) }))
  await clock.run(write(old, 'a note'))
  await clock.advance(200_000)
  expect(textsOf(one)).toEqual(['a note'])
  expect(old.network.traffic().receivedBytes).toBeLessThan(10_000)
})

test('stopping during a round ends it, and nothing is taken afterwards', async () => {
  const mesh = virtualMesh(1, { ...deaf, latencyMs: [500, 500] })
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2)
  await clock.advance(5000)
  await clock.run(write(one, 'late'))
  await clock.advance(15_000)
  await clock.run(two.document.stop())
  const digest = two.document.digest()
  await clock.advance(60_000)
  expect(two.document.digest()).toBe(digest)
})
