import { expect, test, vi } from 'vitest'
import { parsePageId } from '../../../src/core/ids.js'
import { encodeUpdates } from '../../../src/record/wire.js'
import { writeUpdate } from '../../../src/record/yjs-update.js'
import { chainOf, keyPairOf, listeningLogger, updateOf } from './fixtures.js'
import { HostilePeer } from './hostile.js'
import {
  agree,
  started,
  textsOf,
  virtualMesh,
  write,
  type NodeOptions,
  type RecordNode,
  type VirtualMesh
} from './mesh.js'

interface Scene {
  readonly mesh: VirtualMesh
  readonly one: RecordNode
  readonly two: RecordNode
  readonly bad: HostilePeer
}

/** Two honest nodes that have written, and a hostile one that reaches only the first. */
async function scene(options: NodeOptions = {}): Promise<Scene> {
  const mesh = virtualMesh(1)
  const [one, two] = await started(mesh, 2, options)
  const bad = await HostilePeer.join(mesh)
  mesh.hub.cut(two.keyPair.nodeId, bad.keyPair.nodeId)
  await mesh.environment.clock.run(Promise.all([write(one, 'one'), write(two, 'two')]))
  await mesh.environment.clock.advance(1000)
  return { mesh, one, two, bad }
}

/** What a hostile peer can make of the entries that it has seen. */
const forgeries: readonly (readonly [string, (attempt: number) => Promise<Uint8Array>])[] = [
  ['forged', async (attempt) => writeUpdate([{ ...(await victims(attempt)), value: (await own(attempt)).value }])],
  ['tampered', async (attempt) => tamper(updateOf(await keyPairOf(1), { seq: attempt + 1 }))],
  ['replayed at another clock', async (attempt) => writeUpdate([{ ...(await victims(0)), seq: attempt + 1 }])],
  [
    'moved from another page',
    async (attempt) => {
      const chain = chainOf(await keyPairOf(1), { seq: attempt + 1, page: parsePageId('note/b') })
      return writeUpdate([{ ...chain, client: (await victims(0)).client }])
    }
  ],
  ['truncated', async (attempt) => updateOf(await keyPairOf(1), { seq: attempt + 1 }).subarray(0, 40 + attempt)]
]

const victims = async (seq: number): Promise<ReturnType<typeof chainOf>> => chainOf(await keyPairOf(1), { seq })
const own = async (seq: number): Promise<ReturnType<typeof chainOf>> => chainOf(await keyPairOf(5), { seq })

function tamper(update: Uint8Array): Uint8Array {
  const copy = update.slice()
  const at = copy.byteLength - 2
  copy[at] = (copy[at] ?? 0) ^ 1
  return copy
}

test.each(forgeries)(
  '[REC-53] an entry that is %s is refused and attributed, and ends in a hang-up',
  async (_, make) => {
    const logger = listeningLogger()
    const { one, two, bad } = await scene({ logger })
    const before = one.document.digest()
    for (let attempt = 0; attempt < 20 && bad.isLinkedTo(one); attempt++) await bad.gossip(await make(attempt))
    expect(bad.isLinkedTo(one)).toBe(false)
    expect(bad.conductAt(one)?.counts.refused).toBeOneOf([10, 11])
    expect(logger.lines).toContainEqual(expect.stringContaining(`hung up on ${bad.keyPair.nodeId} for 60 s`))
    expect([one.document.digest(), two.document.digest()]).toEqual([before, before])
  }
)

test('[REC-53] bytes that are no message end in a hang-up', async () => {
  const { one, bad } = await scene()
  for (let attempt = 0; attempt < 20 && bad.isLinkedTo(one); attempt++)
    await bad.gossipBytes(Uint8Array.of(255, attempt))
  expect(bad.isLinkedTo(one)).toBe(false)
  expect(bad.conductAt(one)?.counts.malformed).toBe(4)
})

test('[REC-53] who comes back and goes on is held twice as long', async () => {
  const { mesh, one, bad } = await scene()
  const { clock } = mesh.environment
  const misbehave = async (): Promise<number> => {
    for (let attempt = 0; attempt < 20 && bad.isLinkedTo(one); attempt++) {
      await bad.gossipBytes(Uint8Array.of(255, attempt, clock.monotonic() % 251))
    }
    const cutAt = clock.monotonic()
    for (let waited = 0; waited < 600 && !bad.isLinkedTo(one); waited++) await clock.advance(1000)
    return (clock.monotonic() - cutAt) / 1000
  }
  const held = [await misbehave(), await misbehave()]
  expect(held[0]).toBeGreaterThanOrEqual(59)
  expect(held[0]).toBeLessThan(70)
  expect(held[1]).toBeGreaterThanOrEqual(119)
  expect(held[1]).toBeLessThan(190)
})

test('[REC-17] two values for one clock: every node ends with the same one, and it is reported; nobody is cut off', async () => {
  const logger = listeningLogger()
  const { mesh, one, two, bad } = await scene({ logger })
  const liar = await keyPairOf(9)
  for (const text of ['a', 'b']) await bad.gossip(updateOf(liar, { body: { text } }))
  await mesh.environment.clock.advance(60_000)
  expect(agree([one, two])).toBe(true)
  expect(textsOf(one)).toHaveLength(3)
  expect(logger.lines).toContainEqual(expect.stringContaining(`${liar.nodeId} signed two values for clock 0`))
  expect(bad.isLinkedTo(one)).toBe(true)
})

test('[REC-45] a gap asks the peer that sent it, at most once a second; a gap bomb ends in a hang-up', async () => {
  const { mesh, one, bad } = await scene()
  const rounds = vi.fn(() => Promise.resolve())
  bad.serve(rounds)
  const stranger = await keyPairOf(9)
  const bomb = (seq: number): Promise<void> => bad.gossip(updateOf(stranger, { seq, start: seq }))
  const before = mesh.environment.clock.monotonic()
  for (let count = 1; count <= 200; count++) await bomb(count)
  const seconds = (mesh.environment.clock.monotonic() - before) / 1000
  expect(rounds.mock.calls.length).toBeGreaterThanOrEqual(1)
  expect(rounds.mock.calls.length).toBeLessThanOrEqual(seconds + 2)
  expect(bad.isLinkedTo(one)).toBe(true)
  for (let count = 201; count <= 600 && bad.isLinkedTo(one); count++) await bomb(count)
  expect(bad.isLinkedTo(one)).toBe(false)
  expect(textsOf(one)).toEqual(['one', 'two'])
})

test('[REC-53] a replay flood of known entries ends in a hang-up, and does not travel on', async () => {
  const { mesh, one, two, bad } = await scene()
  const known = two.disk.records[0] ?? expect.unreachable()
  const before = two.network.traffic().receivedBytes
  for (let count = 0; count < 3000 && bad.isLinkedTo(one); count++) {
    await bad.gossipBytes(encodeUpdates([known, { ...known, page: parsePageId(`later/${count}`) }]))
  }
  await mesh.environment.clock.advance(1000)
  expect(bad.isLinkedTo(one)).toBe(false)
  expect(bad.conductAt(one)?.counts.flood).toBeGreaterThan(50)
  expect(two.network.traffic().receivedBytes - before).toBeLessThan(10_000)
})

test('[REC-55] what is put in the mouth of a writer does not use up its tokens', async () => {
  const { mesh, one, two, bad } = await scene()
  for (let count = 0; count < 400; count++) {
    const lower = chainOf(two.keyPair, { body: { text: `${count}` } })
    await bad.gossip(writeUpdate([{ ...lower, value: tamper(lower.value) }]))
  }
  await mesh.environment.clock.run(write(two, 'in time'))
  await mesh.environment.clock.advance(150)
  expect(textsOf(one)).toEqual(['in time', 'one'])
})

test('[REC-56] pages of an unknown kind and declined bodies do not travel on, and are limited but never blamed', async () => {
  const { mesh, one, two, bad } = await scene()
  const big = 'x'.repeat(100_000)
  const before = two.network.traffic().receivedBytes
  for (let count = 0; count < 60; count++) {
    const update = updateOf(bad.keyPair, { page: parsePageId('note/b'), seq: count, body: { later: big } })
    await bad.gossip(update, parsePageId(count % 2 === 0 ? 'note/b' : `later/${count}`))
  }
  await mesh.environment.clock.advance(1000)
  expect(bad.isLinkedTo(one)).toBe(true)
  const conduct = bad.conductAt(one)
  expect(conduct?.counts.declined).toBeGreaterThan(10)
  expect(conduct?.counts.unknownKind).toBeGreaterThan(10)
  expect(conduct?.counts.limited).toBeGreaterThan(10)
  expect(conduct?.score).toBe(0)
  expect(two.network.traffic().receivedBytes - before).toBeLessThan(10_000)
})
