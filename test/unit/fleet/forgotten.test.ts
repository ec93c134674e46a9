import { expect, test } from 'vitest'
import { errorCode, MurmurateError } from '../../../src/core/errors.js'
import type { NodeId } from '../../../src/core/ids.js'
import { forgottenKind, forgottenPage, ForgottenIndex, maxForgotten } from '../../../src/fleet/forgotten.js'
import { nodeKind } from '../../../src/fleet/membership.js'
import { keyPairFromSeed } from '../../../src/identity/keypair.js'
import type { Entry } from '../../../src/record/entry.js'
import { agree, virtualMesh, type VirtualMesh } from '../record/mesh.js'
import { description, expireAfterMs, start, stop, type Box } from './boxes.js'

const idOf = ({ record }: Box): NodeId => record.keyPair.nodeId
const idsOf = ({ membership }: Box): NodeId[] => membership.members().map(({ nodeId }) => nodeId)
const sorted = (...boxes: readonly Box[]): NodeId[] => boxes.map(idOf).sort()

/** Three nodes of which the last is switched off, as the others know. */
async function withDeadNode(): Promise<{ mesh: VirtualMesh; boxes: readonly [Box, Box, Box] }> {
  const mesh = virtualMesh(1)
  const boxes = [await start(mesh, 0), await start(mesh, 1), await start(mesh, 2)] as const
  await mesh.environment.clock.advance(1000)
  await stop(mesh, boxes[2])
  await mesh.environment.clock.advance(1000)
  return { mesh, boxes }
}

/** Forgets as a program would, on the virtual clock. */
function forget(mesh: VirtualMesh, { membership }: Box, nodeId: string, force = false): Promise<unknown> {
  return mesh.environment.clock.run(membership.forget(nodeId, { force }).catch(errorCode))
}

test('[FLEET-41] a node that is forgotten is no member any more, on any node, after a restart too', async () => {
  const { mesh, boxes } = await withDeadNode()
  const [one, two, dead] = boxes
  expect(idsOf(one)).toHaveLength(3)
  const changes: NodeId[] = []
  two.membership.onChange((nodes) => changes.push(...nodes))
  expect(await forget(mesh, one, 'box-2')).toBe(idOf(dead))
  await mesh.environment.clock.advance(1000)
  for (const box of [one, two]) {
    expect(idsOf(box)).toEqual(sorted(one, two))
    expect(box.membership.get(idOf(dead))).toBeUndefined()
  }
  expect(changes).toContain(idOf(dead))
  expect(await forget(mesh, one, 'box-2')).toBe('NODE_NOT_FOUND')
  await stop(mesh, two)
  const again = await start(mesh, 1, {}, two.record.disk)
  expect(idsOf(again)).toEqual(sorted(one, two))
})

test('[FLEET-41] it is back on all nodes when it starts again, with the same description', async () => {
  const { mesh, boxes } = await withDeadNode()
  const [one, two, dead] = boxes
  await forget(mesh, one, idOf(dead))
  const back = await start(mesh, 2, {}, dead.record.disk)
  await mesh.environment.clock.advance(2000)
  for (const box of [one, two, back]) expect(idsOf(box)).toEqual(sorted(one, two, dead))
  expect(agree([one.record, two.record, back.record])).toBe(true)
  // What was overtaken makes room: the list holds only what still counts.
  await stop(mesh, back)
  await mesh.environment.clock.advance(1000)
  await forget(mesh, one, idOf(dead))
  const list = one.record.document.entry(forgottenKind, forgottenPage(idOf(one)), idOf(one))?.body
  expect(list?.forgotten.map(({ node }) => node)).toEqual([idOf(dead)])
  expect(idsOf(one)).toEqual(sorted(one, two))
})

test('[FLEET-42] one that is online is forgotten only by force, and back at once; nobody forgets itself', async () => {
  const mesh = virtualMesh(1)
  const [one, two] = [await start(mesh, 0), await start(mesh, 1)]
  expect(await forget(mesh, one, idOf(one), true)).toBe('INVALID_REQUEST')
  expect(await forget(mesh, one, idOf(two))).toBe('INVALID_REQUEST')
  expect(await forget(mesh, one, 'nobody')).toBe('NODE_NOT_FOUND')
  const before = two.writes
  expect(await forget(mesh, one, idOf(two), true)).toBe(idOf(two))
  expect(idsOf(one)).toEqual([idOf(one)])
  await mesh.environment.clock.advance(1000)
  expect(idsOf(one)).toEqual(sorted(one, two))
  expect(two.writes).toBe(before + 1)
  await mesh.environment.clock.advance(60_000)
  expect(two.writes).toBe(before + 1)
})

test('[FLEET-42] one that is forgotten again and again writes seldom, and is back in the end', async () => {
  const mesh = virtualMesh(1)
  const [one, two] = [await start(mesh, 0), await start(mesh, 1)]
  const before = two.writes
  for (let second = 0; second < 60; second++) {
    await forget(mesh, one, idOf(two), true)
    await mesh.environment.clock.advance(1000)
  }
  expect(two.writes - before).toBeGreaterThanOrEqual(5)
  expect(two.writes - before).toBeLessThanOrEqual(7)
  await mesh.environment.clock.advance(20_000)
  expect(idsOf(one)).toEqual(sorted(one, two))
})

test('[FLEET-42] a node that cannot write when it is forgotten tries again', async () => {
  const mesh = virtualMesh(1)
  const [one, two] = [await start(mesh, 0), await start(mesh, 1)]
  two.record.disk.failure = new MurmurateError('INSUFFICIENT_STORAGE', 'The disk is full')
  await forget(mesh, one, idOf(two), true)
  await mesh.environment.clock.advance(5000)
  expect(idsOf(one)).toEqual([idOf(one)])
  two.record.disk.failure = undefined
  await mesh.environment.clock.advance(20_000)
  expect(idsOf(one)).toEqual(sorted(one, two))
})

test('[FLEET-41] who is forgotten depends on the document alone, not on the order of news', async () => {
  const [writer, other, node] = await Promise.all([1, 2, 3].map(nodeIdOf))
  if (writer === undefined || other === undefined || node === undefined) throw new Error('no id')
  const list = (by: NodeId, seq: number, ...named: readonly [number, number][]): Entry<never> => {
    const forgotten = named.map(([epoch, at]) => ({ node, epoch, seq: at }))
    // The index reads nothing else of an entry.
    return { writer: by, seq, body: { forgotten } } as never
  }
  const covers = (entries: readonly Entry<never>[]): boolean[] => {
    const index = new ForgottenIndex()
    for (const entry of entries) index.learn([entry])
    return [4, 5, 6].map((seq) => index.covers({ writer: node, epoch: 7, seq }))
  }
  const [a, b] = [list(writer, 0, [7, 5]), list(other, 0, [7, 6])]
  expect(covers([a, b])).toEqual([false, true, true])
  expect(covers([b, a])).toEqual([false, true, true])
  expect(covers([a, b, list(writer, 1)])).toEqual([false, false, true])
  expect(covers([b, a, list(writer, 1)])).toEqual([false, false, true])
  // Another epoch is another description.
  expect(covers([list(writer, 0, [8, 5])])).toEqual([false, false, false])
})

test('[FLEET-41] one that names descriptions which do not exist keeps nobody out', async () => {
  const { mesh, boxes } = await withDeadNode()
  const [one, two] = boxes
  const hostile = { node: idOf(two), epoch: Number.MAX_SAFE_INTEGER, seq: Number.MAX_SAFE_INTEGER }
  const write = one.record.document.write(forgottenKind, forgottenPage(idOf(one)), { forgotten: [hostile] })
  await mesh.environment.clock.run(write)
  const before = two.writes
  await mesh.environment.clock.advance(60_000)
  expect(idsOf(two)).toHaveLength(3)
  expect(two.writes).toBe(before)
})

test('[FLEET-43] a list is a member’s own, names no node twice, not its writer, and not too many', async () => {
  const mesh = virtualMesh(1)
  const [one, two] = [await start(mesh, 0), await start(mesh, 1)]
  const page = forgottenPage(idOf(one))
  const item = (node: NodeId): { node: NodeId; epoch: number; seq: number } => ({ node, epoch: 0, seq: 0 })
  const write = (to: typeof page, nodes: readonly NodeId[]): Promise<unknown> => {
    const written = one.record.document.write(forgottenKind, to, { forgotten: nodes.map(item) })
    return mesh.environment.clock.run(written.then(() => 'written', errorCode))
  }
  expect(await write(page, [idOf(one)])).toBe('INVALID_REQUEST')
  expect(await write(page, [idOf(two), idOf(two)])).toBe('INVALID_REQUEST')
  expect(await write(forgottenPage(idOf(two)), [idOf(two)])).toBe('INVALID_REQUEST')
  expect(await write('forgotten/999' as typeof page, [idOf(two)])).toBe('INVALID_REQUEST')
  expect(await write(page, [idOf(two)])).toBe('written')
  const many = await Promise.all(Array.from({ length: maxForgotten + 1 }, (_, index) => nodeIdOf(index)))
  expect(await write(page, many)).toBe('INVALID_REQUEST')
  expect(await write(page, many.slice(1))).toBe('written')
})

test('[FLEET-43] whoever has forgotten as many as it can is told to use another node', async () => {
  const { mesh, boxes } = await withDeadNode()
  const [one, two, dead] = boxes
  const ids = await Promise.all(Array.from({ length: maxForgotten }, (_, index) => nodeIdOf(index)))
  const entries = ids.map((writer) => ({ writer, epoch: 1, seq: 1, body: description }))
  // As if so many nodes had been members: what the document tells its listeners.
  one.tell(nodeKind, entries)
  const forgotten = ids.map((node) => ({ node, epoch: 1, seq: 1 }))
  await mesh.environment.clock.run(one.record.document.write(forgottenKind, forgottenPage(idOf(one)), { forgotten }))
  const refused: unknown = await one.membership.forget(idOf(dead)).catch((error: unknown) => error)
  expect(refused).toMatchObject({ code: 'INVALID_REQUEST', message: expect.stringContaining('from another one') })
  expect(await forget(mesh, two, idOf(dead))).toBe(idOf(dead))
})

test('[FLEET-41] several nodes can be forgotten at a time', async () => {
  const mesh = virtualMesh(1)
  const boxes = [await start(mesh, 0), await start(mesh, 1), await start(mesh, 2), await start(mesh, 3)] as const
  for (const box of boxes.slice(1)) await stop(mesh, box)
  await mesh.environment.clock.advance(1000)
  const { membership } = boxes[0]
  await mesh.environment.clock.run(Promise.all(boxes.slice(1).map((box) => membership.forget(idOf(box)))))
  expect(idsOf(boxes[0])).toEqual([idOf(boxes[0])])
})

test('[FLEET-44] who has been gone for long is named as a candidate, the longest gone first, and by no clock that jumps', async () => {
  const mesh = virtualMesh(1)
  const boxes = [await start(mesh, 0), await start(mesh, 1), await start(mesh, 2)] as const
  const expired = (): NodeId[] => boxes[0].membership.expired().map(({ nodeId }) => nodeId)
  await stop(mesh, boxes[2])
  await mesh.environment.clock.advance(10_000)
  await stop(mesh, boxes[1])
  await mesh.environment.clock.advance(expireAfterMs - 10_500)
  expect(expired()).toEqual([])
  await mesh.environment.clock.advance(1000)
  expect(expired()).toEqual([idOf(boxes[2])])
  await mesh.environment.clock.advance(10_000)
  expect(expired()).toEqual([idOf(boxes[2]), idOf(boxes[1])])
  // Still members: expiry names, it takes nothing away.
  expect(idsOf(boxes[0])).toHaveLength(3)
  await start(mesh, 2, {}, boxes[2].record.disk)
  expect(expired()).toEqual([idOf(boxes[1])])
  const wall = mesh.environment.clock.now.bind(mesh.environment.clock)
  await start(mesh, 3).then((box) => stop(mesh, box))
  await mesh.environment.clock.advance(1000)
  mesh.environment.clock.now = () => wall() + 365 * 86_400_000
  expect(expired()).toEqual([idOf(boxes[1])])
  mesh.environment.clock.now = () => wall() - 365 * 86_400_000
  await start(mesh, 4).then((box) => stop(mesh, box))
  await mesh.environment.clock.advance(1000)
  expect(expired()).toEqual([idOf(boxes[1])])
})

test('[FLEET-41] what leaves the document counts no more: a list, and a description', async () => {
  const { mesh, boxes } = await withDeadNode()
  const [one, two, dead] = boxes
  await forget(mesh, two, idOf(dead))
  await mesh.environment.clock.advance(1000)
  expect(idsOf(one)).toEqual(sorted(one, two))
  one.tell(forgottenKind, [], [{ writer: idOf(two) }])
  expect(idsOf(one)).toHaveLength(3)
  one.tell(nodeKind, [], [{ writer: idOf(two) }])
  expect(idsOf(one)).toEqual(sorted(one, dead))
})

async function nodeIdOf(number: number): Promise<NodeId> {
  const seed = Uint8Array.from({ length: 32 }, (_, at) => (at < 2 ? (number >> (8 * at)) & 255 : 7))
  return (await keyPairFromSeed(seed)).nodeId
}
