import { expect, test } from 'vitest'
import { parsePageId } from '../../../src/core/ids.js'
import type { Authority } from '../../../src/identity/authority.js'
import { MemoryNetwork } from '../../../src/net/memory-network.js'
import { DeclinedBook } from '../../../src/record/declined.js'
import { encodeUpdates } from '../../../src/record/wire.js'
import { keyPairOf, notePage, updateOf } from './fixtures.js'
import { agree, deaf, recordTopic, started, textsOf, virtualMesh, write, type RecordNode } from './mesh.js'

/** An authority that lets nobody but these write, until it lets everybody. */
class Gate implements Authority {
  readonly id = ''
  readonly releaseThreshold = 1
  readonly #members = new Set<string>()
  #isOpen = false
  #listener = (): void => {}

  constructor(members: readonly string[]) {
    for (const member of members) this.#members.add(member)
  }

  isMember(nodeId: string): boolean {
    return this.#isOpen || this.#members.has(nodeId)
  }

  hasRole(): boolean {
    return true
  }

  onChange(listener: () => void): () => void {
    this.#listener = listener
    return () => {}
  }

  open(): void {
    this.#isOpen = true
    this.#listener()
  }
}

const trafficOf = (node: RecordNode): number => node.network.traffic().receivedBytes

test('[REC-57] what a node declines comes once, costs nothing in later rounds, and comes again when it is permitted', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [writer, strict] = await Promise.all([keyPairOf(0), keyPairOf(1)])
  const gate = new Gate([strict.nodeId])
  const one = await mesh.node(0)
  const two = await mesh.node(1, { authority: gate })
  for (const node of [one, two]) await node.start()
  const text = 'x'.repeat(10_000)
  for (const page of ['note/a', 'note/b', 'note/c']) await clock.run(write(one, text, parsePageId(page)))
  await clock.run(write(two, 'mine'))
  await clock.advance(60_000)
  expect([textsOf(one).length, textsOf(two).length]).toEqual([4, 1])
  const received = trafficOf(two)
  expect(received).toBeGreaterThan(30_000)
  await clock.advance(600_000)
  expect(trafficOf(two) - received).toBeLessThan(80 * 100)
  expect(two.document.conduct()[0]).toMatchObject({ peer: writer.nodeId, score: 0, counts: { declined: 3 } })
  gate.open()
  await clock.advance(500)
  expect(textsOf(two)).toHaveLength(4)
})

test.each([2, 1])(
  '[REC-47] what all decline does not hide what some hold of its writer, at clock %i beside it',
  async (seq) => {
    const mesh = virtualMesh(1)
    const { clock } = mesh.environment
    const nodes = await started(mesh, 2)
    const liar = await keyPairOf(9)
    const network = new MemoryNetwork({ nodeId: liar.nodeId, hub: mesh.hub })
    network.start()
    await clock.advance(200)
    const tell = (node: RecordNode, update: Uint8Array): void => {
      const data = encodeUpdates([{ page: notePage, update }])
      mesh.hub.carryGossip({ id: `${data.byteLength}`, topic: recordTopic, data }, liar.nodeId, node.keyPair.nodeId)
    }
    mesh.hub.cut(nodes[0].keyPair.nodeId, nodes[1].keyPair.nodeId)
    tell(nodes[0], updateOf(liar, { seq: 1, body: { text: 'well made' } }))
    await clock.advance(100)
    for (const node of nodes) tell(node, updateOf(liar, { seq, body: { text: 7 } }))
    await clock.advance(100)
    expect(nodes.map((node) => textsOf(node))).toEqual([['well made'], []])
    network.stop()
    mesh.hub.heal(nodes[0].keyPair.nodeId, nodes[1].keyPair.nodeId)
    await clock.advance(150_000)
    expect(textsOf(nodes[1])).toEqual(['well made'])
    expect(agree(nodes)).toBe(true)
  }
)

test('[REC-57] 4096 declined entries are remembered, whatever comes', async () => {
  const { nodeId } = await keyPairOf(0)
  const book = new DeclinedBook()
  const declined = (number: number): Parameters<typeof book.add>[0][number] => ({
    page: parsePageId(`note/${number % 500}`),
    client: number,
    writer: nodeId,
    seq: 0,
    valueHash: new Uint8Array(32),
    reason: 'it is new'
  })
  for (let number = 0; number < 20_000; number++) book.add([declined(number)])
  expect(book.size).toBe(4096)
  const sizes = Array.from(book.pages(), (page) => book.of(page)?.size ?? 0)
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(4096)
  expect(Math.min(...sizes)).toBeGreaterThan(0)
  book.clear()
  expect([book.size, [...book.pages()].length]).toEqual([0, 0])
})
