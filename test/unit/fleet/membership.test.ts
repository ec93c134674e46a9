import { expect, test } from 'vitest'
import { caught } from '../core/caught.js'
import { errorCode, MurmurateError } from '../../../src/core/errors.js'
import type { NodeId } from '../../../src/core/ids.js'
import { nodeKind } from '../../../src/fleet/membership.js'
import { listeningLogger } from '../record/fixtures.js'
import { emptyDisk, virtualMesh } from '../record/mesh.js'
import { description, start, stop, type Box } from './boxes.js'

const idOf = ({ record }: Box): NodeId => record.keyPair.nodeId

test('[FLEET-2] a node describes itself once, and not again when it starts with the same description', async () => {
  const mesh = virtualMesh(1)
  const disk = emptyDisk()
  const first = await start(mesh, 0, {}, disk)
  expect(first.writes).toBe(1)
  await stop(mesh, first)
  for (const labels of [description.labels, { b: 'y', 'a-long-name': 'x', shelf: '4' }]) {
    const second = await start(mesh, 0, { labels }, disk)
    expect(second.writes).toBe(0)
    await stop(mesh, second)
  }
  const third = await start(mesh, 0, { formations: ['south'] }, disk)
  expect(third.writes).toBe(1)
  await mesh.environment.clock.run(third.membership.describe({ ...description, name: 'renamed' }))
  expect(third.writes).toBe(2)
  expect([third.membership.self.name, third.membership.members()[0]?.name]).toEqual(['renamed', 'renamed'])
  const wrong = third.membership.describe({ ...description, name: '' })
  expect(await wrong.catch(errorCode)).toBe('INVALID_REQUEST')
})

test('[FLEET-3] whoever is linked is online; whoever goes away is offline since then, and back when it is back', async () => {
  const mesh = virtualMesh(1)
  const [one, two] = [await start(mesh, 0), await start(mesh, 1)]
  const { nodeId } = two.record.keyPair
  const changes: (boolean | undefined)[] = []
  one.membership.onChange(() => changes.push(one.membership.get(nodeId)?.online))
  expect(one.membership.get(nodeId)).toMatchObject({ name: 'box-1', online: true })
  expect('offlineSince' in (one.membership.get(nodeId) ?? {})).toBe(false)

  mesh.hub.cut(one.record.keyPair.nodeId, nodeId)
  await mesh.environment.clock.advance(100)
  const gone = one.membership.get(nodeId)
  expect(gone?.online).toBe(false)
  expect(mesh.environment.clock.now() - (gone?.offlineSince ?? 0)).toBeLessThanOrEqual(100)
  await mesh.environment.clock.advance(5000)
  expect(one.membership.get(nodeId)?.offlineSince).toBe(gone?.offlineSince)

  mesh.hub.heal(one.record.keyPair.nodeId, nodeId)
  await mesh.environment.clock.advance(1000)
  expect(one.membership.get(nodeId)?.online).toBe(true)
  expect(changes).toContain(false)
  expect(changes.at(-1)).toBe(true)
  expect(one.membership.members().find((member) => member.nodeId === one.record.keyPair.nodeId)).toMatchObject({
    online: true
  })
})

test('[FLEET-3] a member that was only ever heard of is offline since it was heard of', async () => {
  const mesh = virtualMesh(1)
  const [one, two] = [await start(mesh, 0), await start(mesh, 1)]
  await stop(mesh, two)
  await mesh.environment.clock.advance(10_000)
  const three = await start(mesh, 2)
  await mesh.environment.clock.advance(2000)
  const heard = three.membership.get(two.record.keyPair.nodeId)
  expect(heard?.online).toBe(false)
  expect(mesh.environment.clock.now() - (heard?.offlineSince ?? 0)).toBeLessThan(3000)
  expect(one.membership.members()).toHaveLength(3)
})

test('[FLEET-4] a member is found by its id, by a prefix that only it has, or by its name', async () => {
  const mesh = virtualMesh(1)
  const boxes = [
    await start(mesh, 0, { name: 'twin' }),
    await start(mesh, 1, { name: 'twin' }),
    await start(mesh, 2, { name: 'single' })
  ]
  await mesh.environment.clock.advance(1000)
  const { membership } = boxes[0] as Box
  const ids = boxes.map(({ record }) => record.keyPair.nodeId)
  for (const id of ids) {
    expect(membership.resolve(id)).toBe(id)
    expect(membership.resolve(id.slice(0, 20))).toBe(id)
    expect(membership.resolve(id.slice(8, 20))).toBe(id)
  }
  expect(membership.resolve('single')).toBe(ids[2])
  const refused = (text: string): unknown => caught(() => membership.resolve(text))?.message
  expect(refused('twin')).toBe('2 members have the id, prefix or name "twin"')
  expect(refused('12D3KooW')).toBe('3 members have the id, prefix or name "12D3KooW"')
  expect(refused('nobody')).toBe('No member has the id, prefix or name "nobody"')
  expect(caught(() => membership.resolve(''))?.code).toBe('NODE_NOT_FOUND')
  expect(String(refused('x'.repeat(10_000))).length).toBeLessThan(200)
})

test('[FLEET-4] nobody can hide another by taking its id as a name', async () => {
  const mesh = virtualMesh(1)
  const honest = await start(mesh, 0)
  const { nodeId } = honest.record.keyPair
  await start(mesh, 1, { name: nodeId })
  await mesh.environment.clock.advance(1000)
  expect(honest.membership.members()).toHaveLength(2)
  expect(honest.membership.resolve(nodeId)).toBe(nodeId)
})

test('[FLEET-2] a member can describe nobody but itself', async () => {
  const mesh = virtualMesh(1)
  const [one, two] = [await start(mesh, 0), await start(mesh, 1)]
  const page = [...two.record.document.all(nodeKind)].find(({ writer }) => writer === one.record.keyPair.nodeId)?.page
  expect(page).toBeDefined()
  if (page === undefined) return
  const write = two.record.document.write(nodeKind, page, description)
  expect(await mesh.environment.clock.run(write.catch(errorCode))).toBe('INVALID_REQUEST')
})

test('[FLEET-3] whoever waits for members goes on when they are there, when told to, and when the node is stopped', async () => {
  const mesh = virtualMesh(1)
  const first = await start(mesh, 0)
  const controller = new AbortController()
  const two = first.membership.waitFor(2).then(() => 'two')
  const aborted = first.membership.waitFor(3, { signal: controller.signal }).catch(errorCode)
  const stopped = first.membership.waitFor(3).catch(errorCode)
  await start(mesh, 1)
  expect(await mesh.environment.clock.run(two)).toBe('two')
  controller.abort()
  expect(await aborted).toBe('ABORTED')
  await stop(mesh, first)
  expect(await stopped).toBe('NOT_STARTED')
})

test('[FLEET-45] a change names the nodes that changed, once each, and the list stays the same until then', async () => {
  const mesh = virtualMesh(1)
  const [one, two, three] = [await start(mesh, 0), await start(mesh, 1), await start(mesh, 2)]
  await mesh.environment.clock.advance(1000)
  const list = one.membership.members()
  expect(one.membership.members()).toBe(list)
  expect(Object.isFrozen(list)).toBe(true)
  one.tell(nodeKind, [])
  expect(one.membership.members()).toBe(list)
  const changes: (readonly NodeId[])[] = []
  one.membership.onChange((nodes) => changes.push(nodes))
  await mesh.environment.clock.run(two.membership.describe({ ...description, name: 'other' }))
  await mesh.environment.clock.advance(1000)
  expect(changes).toEqual([[idOf(two)]])
  expect(one.membership.members()).not.toBe(list)
  expect(one.membership.members().map(({ nodeId }) => nodeId)).toEqual([idOf(one), idOf(two), idOf(three)].sort())
  mesh.hub.cut(idOf(one), idOf(three))
  await mesh.environment.clock.advance(1000)
  expect(changes).toEqual([[idOf(two)], [idOf(three)]])
  expect(one.membership.get(idOf(three))).toMatchObject({ presence: 'failed', online: false })
})

test('[FLEET-46] whoever is suspected is online until it has failed', async () => {
  const mesh = virtualMesh(1)
  const [one, two] = [await start(mesh, 0), await start(mesh, 1)]
  const seen: unknown[] = []
  one.membership.onChange(() => seen.push(one.membership.get(idOf(two))))
  const { presence } = one
  const became = (state: 'suspected' | 'alive' | 'unknown', since?: number): void => {
    presence.stateOf = () => state
    presence.offlineSince = () => since
    one.presence.stop()
    one.presence.start()
  }
  became('suspected')
  expect(one.membership.get(idOf(two))).toMatchObject({ presence: 'suspected', online: true })
  expect('offlineSince' in (one.membership.get(idOf(two)) ?? {})).toBe(false)
  became('unknown', 123)
  expect(one.membership.get(idOf(two))).toMatchObject({ presence: 'unknown', online: false, offlineSince: 123 })
  became('alive')
  expect(one.membership.get(idOf(two))).toMatchObject({ presence: 'alive', online: true })
  expect(seen).toHaveLength(3)
})

test('[FLEET-40] a listener of the fleet that throws is not held against the peer, and the others hear', async () => {
  const mesh = virtualMesh(1)
  const logger = listeningLogger()
  const one = await start(mesh, 0, {}, emptyDisk(), logger)
  const heard: NodeId[] = []
  one.membership.onChange(() => {
    throw new Error('my own mistake')
  })
  one.membership.onChange((nodes) => heard.push(...nodes))
  const two = await start(mesh, 1)
  expect(heard).toContain(idOf(two))
  expect(new Set(logger.lines)).toEqual(new Set(['a listener of the fleet failed: my own mistake']))
  expect(one.record.network.peers()).toEqual([idOf(two)])
})

test('[FLEET-47] a node announces each run once, when asked, with an epoch above those of all runs before', async () => {
  const mesh = virtualMesh(1)
  const watcher = await start(mesh, 1)
  const disk = emptyDisk()
  const epochs: number[] = []
  for (let run = 0; run < 5; run++) {
    const box = await start(mesh, 0, {}, disk)
    // The first run describes the node anyway.
    expect(box.writes).toBe(run === 0 ? 1 : 0)
    const asked = [box.membership.announce(), box.membership.announce()]
    const [epoch, same] = await mesh.environment.clock.run(Promise.all(asked))
    expect(await box.membership.announce()).toBe(epoch)
    expect([box.writes, same]).toEqual([1, epoch])
    await mesh.environment.clock.advance(500)
    expect(watcher.membership.epochOf(idOf(box))).toBe(epoch)
    epochs.push(epoch ?? -1)
    await stop(mesh, box)
    expect(await box.membership.announce()).toBeUndefined()
  }
  expect(epochs).toEqual([...new Set(epochs)].sort((a, b) => a - b))
})

test('[FLEET-47] a node that was restored from an old image announces itself above what the mesh has heard of it', async () => {
  const mesh = virtualMesh(1)
  const watcher = await start(mesh, 1)
  const disk = emptyDisk()
  const first = await start(mesh, 0, {}, disk)
  const image = { ...disk }
  await stop(mesh, first)
  for (let run = 0; run < 3; run++) {
    const box = await start(mesh, 0, {}, disk)
    await mesh.environment.clock.run(box.membership.announce())
    await mesh.environment.clock.advance(500)
    await stop(mesh, box)
  }
  const before = watcher.membership.epochOf(idOf(first)) ?? -1
  const restored = await start(mesh, 0, {}, image)
  await mesh.environment.clock.run(restored.membership.announce())
  await mesh.environment.clock.advance(2000)
  const after = await restored.membership.announce()
  expect(after).toBeGreaterThan(before)
  expect(watcher.membership.epochOf(idOf(restored))).toBe(after)
})

test('[FLEET-47] a node whose disk fails announces nothing, and does when it is mended', async () => {
  const mesh = virtualMesh(1)
  const disk = emptyDisk()
  await stop(mesh, await start(mesh, 0, {}, disk))
  const box = await start(mesh, 0, {}, disk)
  disk.failure = new MurmurateError('INSUFFICIENT_STORAGE', 'The disk is full')
  expect(await mesh.environment.clock.run(box.membership.announce())).toBeUndefined()
  disk.failure = undefined
  await mesh.environment.clock.advance(2000)
  expect(await mesh.environment.clock.run(box.membership.announce())).toBeGreaterThan(0)
})
