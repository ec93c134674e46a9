import { expect, test, vi } from 'vitest'
import { parsePageId, type PageId } from '../../../src/core/ids.js'
import type { Channel } from '../../../src/net/network.js'
import { syncProtocol } from '../../../src/record/anti-entropy.js'
import type { StateVector } from '../../../src/record/page.js'
import { encodeSync, encodeUpdates, maxMessageBytes, type SyncMessage } from '../../../src/record/wire.js'
import { encode } from '../../../src/core/codec.js'
import { keyPairOf, listeningLogger, noteKind, notePage, stoneKind, stonePage, updateOf } from './fixtures.js'
import { agree, recordTopic, restart, started, textsOf, virtualMesh, type RecordNode } from './mesh.js'

const vectorsOfNothing = (pages: number): [PageId, StateVector][] =>
  Array.from({ length: pages }, (_, page) => [parsePageId(`note/${page}`), new Map()])
const write = (node: RecordNode, text: string, page = notePage): Promise<void> =>
  node.document.write(noteKind, page, { text })
/** Gossip that loses everything: what arrives came by anti-entropy. */
const deaf = { gossipLoss: 1 }

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

test('[REC-42] a disk that was restored: the epoch rises, no pair (epoch, seq) is used twice, the last words stay', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2)
  const used: string[] = []
  two.document.subscribe(noteKind, (entries) => {
    for (const { writer, epoch, seq } of entries) if (writer === one.keyPair.nodeId) used.push(`${epoch} ${seq}`)
  })
  for (let number = 0; number < 3; number++) {
    await clock.run(write(one, `one ${number}`))
    await clock.advance(200)
  }
  const image = { ...one.disk, records: [...one.disk.records] }
  for (let number = 3; number < 8; number++) {
    await clock.run(write(one, `one ${number}`))
    await clock.advance(200)
  }
  const before = two.document.entry(noteKind, notePage, one.keyPair.nodeId)
  mesh.hub.isolate(one.keyPair.nodeId)
  const restored = await restart(mesh, one, image)
  expect(textsOf(restored)).toEqual(['one 2'])
  // It does not know better yet, and uses clocks again that the mesh has seen.
  for (const number of [1, 2]) await clock.run(write(restored, `restored ${number}`))
  const alone = restored.document.entry(noteKind, notePage, one.keyPair.nodeId)
  used.push(`${alone?.epoch} ${alone?.seq}`)
  mesh.hub.heal(one.keyPair.nodeId)
  await clock.advance(2000)
  expect([textsOf(restored), textsOf(two)]).toEqual([['restored 2'], ['restored 2']])
  expect(agree([restored, two])).toBe(true)
  await clock.run(write(restored, 'next'))
  await clock.advance(500)
  const after = two.document.entry(noteKind, notePage, one.keyPair.nodeId)
  expect(after?.body.text).toBe('next')
  expect(after?.epoch).toBeGreaterThan(before?.epoch ?? Infinity)
  expect(new Set(used).size).toBe(used.length)
})

test('[REC-42] a value that is on its way to the disk when older ones are found is not overwritten by the one before', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2)
  await clock.run(write(one, 'old'))
  await clock.advance(60_000)
  const image = { ...one.disk, records: [...one.disk.records] }
  for (const text of ['lost 1', 'lost 2', 'lost 3']) await clock.run(write(one, text))
  await clock.advance(60_000)
  expect(textsOf(two)).toEqual(['lost 3'])
  mesh.hub.isolate(one.keyPair.nodeId)
  const restored = await restart(mesh, one, image)
  await clock.run(write(restored, 'first'))
  restored.disk.syncMs = 5000
  const second = write(restored, 'second')
  mesh.hub.heal(one.keyPair.nodeId)
  await clock.run(second)
  await clock.advance(60_000)
  expect([textsOf(restored), textsOf(two)]).toEqual([['second'], ['second']])
})

test('[REC-42] the epoch rises with every start', async () => {
  const mesh = virtualMesh(1)
  const epochs: number[] = []
  let [node]: RecordNode[] = await started(mesh, 1)
  for (let start = 0; start < 8 && node !== undefined; start++) {
    await mesh.environment.clock.run(write(node, `start ${start}`))
    epochs.push(node.document.entry(noteKind, notePage, node.keyPair.nodeId)?.epoch ?? -1)
    node = await restart(mesh, node)
  }
  expect(new Set(epochs).size).toBe(8)
  expect(epochs).toEqual(epochs.toSorted((a, b) => a - b))
})

test('[REC-42] the same image restored twice does not repeat an epoch', async () => {
  const epochs = new Set<number | undefined>()
  for (const seed of [1, 2, 3, 4]) {
    const mesh = virtualMesh(seed)
    const [one] = await started(mesh, 1)
    await mesh.environment.clock.run(write(one, 'x'))
    epochs.add(one.document.entry(noteKind, notePage, one.keyPair.nodeId)?.epoch)
  }
  expect(epochs.size).toBe(4)
})

test('[REC-17] a disk restored exactly to a clock of the mesh: both sides end with one value', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2)
  await clock.run(write(one, 'a'))
  const image = { ...one.disk, records: [...one.disk.records] }
  await clock.run(write(one, 'b'))
  await clock.advance(500)
  mesh.hub.isolate(one.keyPair.nodeId)
  const restored = await restart(mesh, one, image)
  await clock.run(write(restored, 'c'))
  expect(restored.document.entry(noteKind, notePage, one.keyPair.nodeId)?.seq).toBe(1)
  mesh.hub.heal(one.keyPair.nodeId)
  await clock.advance(2000)
  expect(agree([restored, two])).toBe(true)
  expect(textsOf(two)).toEqual(['c'])
})

test('[REC-43] two machines with one key are noticed and do not write against each other for ever', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const logger = listeningLogger()
  const [one, two] = await started(mesh, 2, { logger })
  const twin = await mesh.node(0, { logger, networkNumber: 7 })
  await twin.start()
  await clock.advance(500)
  const seen: string[] = []
  two.document.subscribe(noteKind, (entries) => seen.push(...entries.map(({ body }) => body.text)))
  for (let number = 0; number < 5; number++) {
    await clock.run(Promise.all([write(one, `one ${number}`), write(twin, `twin ${number}`)]))
    await clock.advance(1000)
  }
  const count = seen.length
  expect(count).toBeGreaterThan(5)
  expect(count).toBeLessThan(50)
  await clock.advance(120_000)
  expect(seen).toHaveLength(count)
  expect(agree([one, two, twin])).toBe(true)
  expect(logger.lines).toContainEqual(expect.stringContaining('another node with its key'))
})

test('[REC-44] a hostile peer cannot end a round wrongly, and the next one with another succeeds', async () => {
  const hostile: readonly (readonly (readonly [Uint8Array])[])[] = [
    [[new Uint8Array()]],
    [[Uint8Array.of(0xff, 0xff)]],
    [[encode([9])]],
    [[encodeSync({ type: 'done' })]],
    [[encodeSync({ type: 'vectors', vectors: [], last: true })], [encode([2, [['../etc', new Uint8Array()]]])]],
    [[encode([1, [['note/a', [[1, 2 ** 53, new Uint8Array(8)]]]], true])]],
    [[encode([1, [['note/a', [[1, 1, new Uint8Array(7)]]]], true])]],
    [[new Uint8Array(maxMessageBytes)]]
  ]
  for (const frames of hostile) {
    const mesh = virtualMesh(1, deaf)
    const { clock } = mesh.environment
    const [one, two] = await started(mesh, 2)
    const bad = await mesh.node(5)
    bad.network.serve(
      syncProtocol,
      async (channel) => {
        for (const parts of frames) await channel.send(parts)
        await channel.close()
      },
      { maxFrameBytes: 2 * maxMessageBytes }
    )
    bad.network.start()
    await clock.run(write(one, 'one'))
    await clock.advance(90_000)
    expect(agree([one, two])).toBe(true)
    expect(textsOf(two)).toEqual(['one'])
  }
})

test('[REC-44] a peer that asks and then says nothing is given up after the time of silence', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1, { init: { syncSilenceMs: 5000 } })
  const silent = await mesh.node(5)
  silent.network.start()
  await clock.advance(100)
  const channel = await clock.run(
    silent.network.open(one.keyPair.nodeId, syncProtocol, { maxFrameBytes: maxMessageBytes })
  )
  const reading = clock.run(
    (async () => {
      for await (const frame of channel.frames()) expect(frame).toBeUndefined()
    })()
  )
  const before = clock.monotonic()
  await expect(reading).rejects.toMatchObject({ code: 'NETWORK_ERROR' })
  expect(clock.monotonic() - before).toBeLessThan(5100)
})

test('[REC-44] lists without end are cut off', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1)
  const hostile = await mesh.node(5)
  hostile.network.start()
  await clock.advance(100)
  const channel = await clock.run(
    hostile.network.open(one.keyPair.nodeId, syncProtocol, { maxFrameBytes: maxMessageBytes })
  )
  const endless: SyncMessage = { type: 'digests', digests: [[notePage, new Uint8Array(16)]], last: false }
  const flood = async (): Promise<number> => {
    for (let sent = 0; ; sent++) {
      if (sent === 1000) return sent
      await channel.send([encodeSync(endless)])
      await new Promise<void>((resolve) => clock.setTimer(10, resolve))
    }
  }
  await expect(clock.run(flood())).rejects.toMatchObject({ code: 'NETWORK_ERROR' })
})

test('[REC-44] a peer that draws its round out does not keep others from theirs', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2)
  const slow = await mesh.node(5)
  let rounds = 0
  slow.network.serve(
    syncProtocol,
    async (channel) => {
      rounds++
      for (;;) {
        await channel.send([encodeSync({ type: 'updates', updates: [] })])
        await new Promise<void>((resolve) => clock.setTimer(1000, resolve))
      }
    },
    { maxFrameBytes: maxMessageBytes }
  )
  slow.network.start()
  await clock.advance(60_000)
  expect(rounds).toBeGreaterThan(0)
  await clock.run(write(one, 'one'))
  await clock.advance(300_000)
  expect(textsOf(two)).toEqual(['one'])
})

test('[REC-44] a peer that takes nothing is given up after the time of silence', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1, { init: { syncSilenceMs: 5000 } })
  const filler = 'x'.repeat(60_000)
  for (let page = 0; page < 20; page++) await clock.run(write(one, filler, parsePageId(`note/${page}`)))
  const deafPeer = await mesh.node(5)
  deafPeer.network.start()
  await clock.advance(100)
  const channel = await clock.run(
    deafPeer.network.open(one.keyPair.nodeId, syncProtocol, { maxFrameBytes: maxMessageBytes })
  )
  await clock.run(channel.send([encodeSync({ type: 'digests', digests: [], last: true })]))
  await clock.run(channel.send([encodeSync({ type: 'vectors', vectors: vectorsOfNothing(20), last: true })]))
  await clock.advance(20_000)
  await expect(clock.run(channel.send([encodeSync({ type: 'done' })]))).rejects.toMatchObject({ code: 'NETWORK_ERROR' })
})

test('[REC-44] a peer that begins a round ends its last one', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1)
  const hostile = await mesh.node(5)
  hostile.network.start()
  await clock.advance(100)
  const open = (): Promise<Channel> =>
    clock.run(hostile.network.open(one.keyPair.nodeId, syncProtocol, { maxFrameBytes: maxMessageBytes }))
  const some = encodeSync({ type: 'digests', digests: [], last: false })
  const [first, second] = [await open(), await open()]
  await clock.advance(100)
  await expect(clock.run(first.send([some]))).rejects.toMatchObject({ code: 'NETWORK_ERROR' })
  await clock.run(second.send([some]))
})

test('[REC-44] a vector in many parts costs no more than its length', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1)
  const hostile = await mesh.node(5)
  hostile.network.start()
  await clock.advance(100)
  const channel = await clock.run(
    hostile.network.open(one.keyPair.nodeId, syncProtocol, { maxFrameBytes: maxMessageBytes })
  )
  const rows = Array.from({ length: 8000 }, (_, client) => [client, { clock: 1, tag: new Uint8Array(8) }] as const)
  const many = Array.from({ length: 20_000 }, () => [notePage, new Map()] as const)
  const before = performance.now()
  await clock.run(channel.send([encodeSync({ type: 'digests', digests: [], last: true })]))
  await clock.run(channel.send([encodeSync({ type: 'vectors', vectors: [[notePage, new Map(rows)]], last: false })]))
  await clock.run(channel.send([encodeSync({ type: 'vectors', vectors: many, last: true })]))
  await clock.advance(1000)
  expect(performance.now() - before).toBeLessThan(3000)
})

test('[REC-45] a gap asks the peer that sent it, at most once a second', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1)
  const bomber = await mesh.node(5)
  const rounds = vi.fn(() => Promise.resolve())
  bomber.network.serve(syncProtocol, rounds, { maxFrameBytes: maxMessageBytes })
  bomber.network.start()
  await clock.advance(5000)
  rounds.mockClear()
  const stranger = await keyPairOf(9)
  for (let seq = 1; seq <= 100; seq++) {
    const update = updateOf(stranger, { seq: 10 * seq, start: 10 * seq })
    await bomber.network.publish(recordTopic, encodeUpdates([{ page: notePage, update }]))
    await clock.advance(50)
  }
  expect(rounds.mock.calls.length).toBeGreaterThanOrEqual(4)
  expect(rounds.mock.calls.length).toBeLessThanOrEqual(7)
  expect(textsOf(one)).toEqual([])
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
