import { expect, test } from 'vitest'
import { encode } from '../../../src/core/codec.js'
import { MurmurateError } from '../../../src/core/errors.js'
import { parsePageId } from '../../../src/core/ids.js'
import type { Entry } from '../../../src/record/entry.js'
import { maxEntryBytes } from '../../../src/record/entry.js'
import { decodeUpdates } from '../../../src/record/wire.js'
import { listeningLogger, noteKind, notePage, stoneKind, stonePage, type Note } from './fixtures.js'
import { agree, recordTopic, restart, started, textsOf, virtualMesh, type RecordNode } from './mesh.js'

const write = (node: RecordNode, text: string, page = notePage): Promise<void> =>
  node.document.write(noteKind, page, { text })

test('a write is readable when it resolves, by page and by writer', async () => {
  const mesh = virtualMesh(1)
  const node = await mesh.node(0)
  await node.start()
  await mesh.environment.clock.run(write(node, 'hello'))
  const entry = node.document.entry(noteKind, notePage, node.keyPair.nodeId)
  expect(entry).toMatchObject({ page: notePage, writer: node.keyPair.nodeId, seq: 0, body: { text: 'hello' } })
  expect(node.document.entries(noteKind, notePage)).toEqual([entry])
  expect(node.document.export(notePage)).toBeInstanceOf(Uint8Array)
  expect(node.document.export(parsePageId('note/none'))).toBeUndefined()
})

test('before start and after stop a write is NOT_STARTED', async () => {
  const mesh = virtualMesh(1)
  const node = await mesh.node(0)
  await expect(write(node, 'x')).rejects.toMatchObject({ code: 'NOT_STARTED' })
  await node.start()
  await mesh.environment.clock.run(node.stop())
  await expect(write(node, 'x')).rejects.toMatchObject({ code: 'NOT_STARTED' })
})

test('stop is harmless when never started and when repeated; start again goes on', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const node = await mesh.node(0)
  await node.stop()
  await node.start()
  await node.document.start()
  await clock.run(write(node, 'one'))
  await clock.run(node.stop())
  await clock.run(node.stop())
  expect(clock.pending).toBeLessThanOrEqual(1)
  await node.start()
  await clock.run(write(node, 'two'))
  expect(node.document.entries(noteKind, notePage)).toMatchObject([{ seq: 1, body: { text: 'two' } }])
})

test('what was waiting to be written when stop was called is on the disk', async () => {
  const mesh = virtualMesh(1)
  const node = await mesh.node(0)
  await node.start()
  const writing = write(node, 'last words')
  await mesh.environment.clock.run(node.stop())
  await writing
  const again = await mesh.node(0, { disk: node.disk })
  await again.start()
  expect(textsOf(again)).toEqual(['last words'])
})

test.each<[string, string, unknown]>([
  ['a page of another kind', 'stone/a', { text: 'x' }],
  ['a page that the kind does not have', 'note/NO', { text: 'x' }],
  ['a page of no kind', 'other/a', { text: 'x' }],
  ['a body that the policy forbids', 'note/a', { text: 'forbidden' }],
  ['a body of the wrong form', 'note/a', { text: 7 }],
  ['no body', 'note/a', undefined],
  ['a body that cannot be encoded', 'note/a', { text: 'x', more: () => 1 }],
  ['a body above the bound', 'note/a', { text: 'x'.repeat(maxEntryBytes) }]
])('[REC-15] writing %s is INVALID_REQUEST and does no harm to writes beside it', async (_, page, body) => {
  const mesh = virtualMesh(1)
  const node = await mesh.node(0)
  await node.start()
  const good = write(node, 'good', parsePageId('note/b'))
  const bad = node.document.write(noteKind, parsePageId(page), body as Note)
  await expect(bad).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
  await mesh.environment.clock.run(good)
  expect(textsOf(node)).toEqual(['good'])
})

test('the largest body fits into a gossip message', async () => {
  const mesh = virtualMesh(1)
  const [one, two] = await started(mesh, 2)
  const text = 'x'.repeat(maxEntryBytes - 300)
  await mesh.environment.clock.run(write(one, text))
  await mesh.environment.clock.advance(200)
  expect(textsOf(two)).toEqual([text])
})

test('[REC-30] several writes to one page that wait together make one entry, the last; all of them resolve', async () => {
  const mesh = virtualMesh(1)
  const node = await mesh.node(0)
  await node.start()
  const writes = Array.from({ length: 50 }, (_, number) => write(node, `text ${number}`))
  await mesh.environment.clock.run(Promise.all(writes))
  // The first was already on its way to the disk.
  expect(node.document.entries(noteKind, notePage)).toMatchObject([{ seq: 1, body: { text: 'text 49' } }])
})

test('[REC-31] a write that comes while the last one is being finished is not forgotten', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const node = await mesh.node(0, { init: { compactAboveBytes: 1 } })
  await node.start()
  for (let number = 0; number < 30; number++) {
    const first = write(node, `a ${number}`)
    const second = first.then(async () => {
      // The compaction that follows takes a few turns; come in at each of them.
      for (let turn = 0; turn < number; turn++) await Promise.resolve()
      await write(node, `b ${number}`)
    })
    await clock.run(second, 1000)
    expect(textsOf(node)).toEqual([`b ${number}`])
  }
})

test('[REC-32] an entry is on the disk before anyone hears of it', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const heard: number[] = []
  const [one, two] = await started(mesh, 2)
  one.disk.syncMs = 1000
  two.document.subscribe(noteKind, () => heard.push(one.disk.records.length))
  one.document.subscribe(noteKind, () => heard.push(one.disk.records.length))
  const writing = write(one, 'x')
  await clock.advance(999)
  expect([heard, textsOf(one), one.disk.records.length]).toEqual([[], [], 0])
  await clock.run(writing)
  await clock.advance(500)
  expect(heard).toEqual([1, 1])
})

test('[REC-33] when the disk fails, the write is rejected, nobody hears of it, and no clock is used twice', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2)
  await clock.run(write(one, 'before'))
  one.disk.failure = new MurmurateError('INSUFFICIENT_STORAGE', 'full')
  await expect(clock.run(write(one, 'lost'))).rejects.toMatchObject({ code: 'INSUFFICIENT_STORAGE' })
  await clock.advance(500)
  await expect(clock.run(write(one, 'lost too'))).rejects.toMatchObject({ code: 'INSUFFICIENT_STORAGE' })
  await clock.advance(60_000)
  expect([textsOf(one), textsOf(two)]).toEqual([['before'], ['before']])
  one.disk.failure = undefined
  await clock.run(write(one, 'after'))
  await clock.advance(500)
  expect([textsOf(one), textsOf(two)]).toEqual([['after'], ['after']])
  const restarted = await restart(mesh, one)
  expect(textsOf(restarted)).toEqual(['after'])
  expect(agree([restarted, two])).toBe(true)
})

test('[REC-34] a restart keeps everything, what others wrote included', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2)
  for (const number of [1, 2, 3]) await clock.run(write(one, `one ${number}`))
  await clock.run(write(two, 'two'))
  await clock.advance(1000)
  const digest = one.document.digest()
  mesh.hub.isolate(one.keyPair.nodeId)
  const again = await restart(mesh, one)
  expect(again.document.digest()).toBe(digest)
  await clock.run(write(again, 'one 4'))
  expect(again.document.entry(noteKind, notePage, one.keyPair.nodeId)?.seq).toBe(3)
})

test('listeners hear of what is loaded, written and received, after it is in place, and one that throws harms nobody', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const logger = listeningLogger()
  const [one] = await started(mesh, 1)
  const two = await mesh.node(1, { logger })
  const heard: string[] = []
  two.document.subscribe(noteKind, () => {
    throw new Error('a mistake in a listener')
  })
  const stop = two.document.subscribe(noteKind, (entries: readonly Entry<Note>[]) => {
    for (const { body, writer } of entries) {
      expect(two.document.entry(noteKind, notePage, writer)?.body).toEqual(body)
      heard.push(body.text)
    }
  })
  await two.start()
  await clock.advance(100)
  await clock.run(write(one, 'received'))
  await clock.advance(200)
  await clock.run(write(two, 'written'))
  expect(heard).toEqual(['received', 'written'])
  expect(logger.lines).toContainEqual(expect.stringContaining('a mistake in a listener'))
  stop()
  await clock.run(write(two, 'unheard'))
  expect(heard).toHaveLength(2)
})

test('[REC-16] on an immutable page the same body again is nothing, another body is CONFLICT', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2)
  const carve = (node: RecordNode, text: string): Promise<void> => node.document.write(stoneKind, stonePage, { text })
  await clock.run(Promise.all([carve(one, 'a'), carve(one, 'a')]))
  await clock.run(carve(one, 'a'))
  await expect(clock.run(carve(one, 'b'))).rejects.toMatchObject({ code: 'CONFLICT' })
  await clock.run(carve(two, 'b'))
  await clock.advance(500)
  const restarted = await restart(mesh, one)
  await expect(clock.run(carve(restarted, 'b'))).rejects.toMatchObject({ code: 'CONFLICT' })
  await clock.run(carve(restarted, 'a'))
  expect(restarted.document.entries(stoneKind, stonePage).map(({ seq, body }) => [seq, body.text])).toEqual(
    expect.arrayContaining([
      [0, 'a'],
      [0, 'b']
    ])
  )
})

test('[REC-16] of two different first writes at once, the first is kept and the second is CONFLICT', async () => {
  const mesh = virtualMesh(1)
  const [one] = await started(mesh, 1)
  const carve = (text: string): Promise<void> => one.document.write(stoneKind, stonePage, { text })
  // The write before keeps the two waiting, so that they meet in one batch.
  const outcome = Promise.allSettled([write(one, 'x'), carve('a'), carve('b'), carve('a')])
  expect((await mesh.environment.clock.run(outcome)).map(({ status }) => status)).toEqual([
    'fulfilled',
    'fulfilled',
    'rejected',
    'fulfilled'
  ])
  expect(textsOf(one, 'stone')).toEqual(['a'])
})

test('[REC-35] compaction keeps everything, what is received meanwhile included', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2, { init: { compactAboveBytes: 2000 } })
  one.disk.syncMs = 40
  for (let number = 0; number < 60; number++) {
    await clock.run(
      Promise.all([write(one, `one ${number}`), write(two, `two ${number}`, parsePageId(`note/${number % 7}`))])
    )
    await clock.advance(number % 9)
  }
  await clock.advance(1000)
  expect(agree([one, two])).toBe(true)
  expect(one.disk.records.length).toBeLessThan(40)
  mesh.hub.isolate(one.keyPair.nodeId)
  const digest = one.document.digest()
  expect((await restart(mesh, one)).document.digest()).toBe(digest)
})

test('[REC-36] entries that come in while the first entry of a page is being written are kept', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2)
  one.disk.syncMs = 1000
  const writing = write(one, 'one')
  await clock.run(write(two, 'two'))
  await clock.advance(300)
  expect(textsOf(one)).toEqual(['two'])
  await clock.run(writing)
  expect(textsOf(one)).toEqual(['one', 'two'])
})

test('what is gossiped within one tick goes out as one message', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1)
  const probe = await mesh.node(5)
  const sizes: number[] = []
  probe.network.subscribe(recordTopic, ({ data }) => {
    sizes.push(decodeUpdates(data).length)
    return 'accept'
  })
  probe.network.start()
  await clock.advance(100)
  await clock.run(write(one, 'at once'))
  for (let number = 0; number < 10; number++) await clock.run(write(one, 'x', parsePageId(`note/${number}`)))
  await clock.advance(200)
  expect(sizes).toEqual([1, 10])
})

test('a body that is encoded and decoded is what listeners see: undefined is left out', async () => {
  const mesh = virtualMesh(1)
  const [one] = await started(mesh, 1)
  const body = { text: 'x', more: undefined } as Note
  await mesh.environment.clock.run(one.document.write(noteKind, notePage, body))
  expect(encode(one.document.entry(noteKind, notePage, one.keyPair.nodeId)?.body)).toEqual(encode({ text: 'x' }))
})
