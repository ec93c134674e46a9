import { expect, test } from 'vitest'
import { listeningLogger, noteKind, notePage } from './fixtures.js'
import { agree, deaf, restart, started, textsOf, virtualMesh, write, type RecordNode } from './mesh.js'

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
