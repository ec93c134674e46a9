import { expect, test } from 'vitest'
import { encode } from '../../../src/core/codec.js'
import { parsePageId } from '../../../src/core/ids.js'
import type { SyncMessage } from '../../../src/record/sync-messages.js'
import { encodeSync } from '../../../src/record/sync-messages.js'
import { maxMessageBytes } from '../../../src/record/wire.js'
import { chainOf, keyPairOf, notePage, updateOf } from './fixtures.js'
import { HostilePeer, openingMessage } from './hostile.js'
import { agree, deaf, started, textsOf, virtualMesh, write, type RecordNode, type VirtualMesh } from './mesh.js'
import { writeUpdate } from '../../../src/record/yjs-update.js'

const digest = new Uint8Array(8)
const tag = new Uint8Array(8)
const otherPage = parsePageId('note/b')
const noSlices: SyncMessage = { type: 'slices', items: [], last: true }
const noWants: SyncMessage = { type: 'wants', items: [], last: true }
const pages = (last: boolean): SyncMessage => ({ type: 'pages', items: [[notePage, digest]], last })
/** Slices of the page that are as nobody has them. */
const slices = (bits = 0): SyncMessage => ({
  type: 'slices',
  items: [{ page: notePage, bits, digests: new Uint8Array(4 * 2 ** bits).fill(7) }],
  last: true
})

/** What is no message, is too large, or counts what cannot be counted. */
const malformedFrames: readonly (readonly [string, Uint8Array])[] = [
  ['nothing', new Uint8Array()],
  ['no CBOR', Uint8Array.of(0xff, 0xff)],
  ['an unknown message', encode([9])],
  ['a frame above the limit', new Uint8Array(maxMessageBytes + 1)],
  ['a page that is a path', encode([2, [['../etc', digest]], true])],
  ['a digest of the wrong length', encode([2, [['note/a', new Uint8Array(7)]], true])],
  ['a huge fan-out', encode([3, [['note/a', 40, new Uint8Array(4)]], true])],
  ['fewer digests than slices', encode([3, [['note/a', 3, new Uint8Array(4)]], true])],
  ['a count of 2^53', encode([4, [['note/a', 0, [0], [[1, 2 ** 53, tag]]]], true])],
  ['a negative clock', encode([6, [['note/a', [[1, -1]]]], true])]
]

/** Rounds that a peer begins and does not go on with as it should. */
const brokenRounds: readonly (readonly [string, readonly (SyncMessage | Uint8Array)[]])[] = [
  ...malformedFrames.map(([what, frame]) => [what, [frame]] as const),
  ['no opening', [noSlices]],
  ['two openings', [openingMessage, openingMessage]],
  ['updates at once', [openingMessage, { type: 'updates', items: [{ page: notePage, update: new Uint8Array(2) }] }]],
  ['a page of slices twice', [openingMessage, twice(slices())]],
  ['updates without any', [openingMessage, noSlices, { type: 'updates', items: [] }]],
  ['an update without a chain', [openingMessage, slices(), update(new Uint8Array(2))]],
  ['bytes that are no update', [openingMessage, slices(), update(Uint8Array.of(9, 9, 9))]],
  ['wants out of order', [openingMessage, noSlices, wants([5, 4])]],
  ['a want twice', [openingMessage, noSlices, wants([5, 5])]],
  ['a page of wants twice', [openingMessage, noSlices, twice(wants(undefined))]],
  ['vectors, which are not its to send', [openingMessage, noSlices, { type: 'vectors', items: [], last: true }]]
]

function twice(message: SyncMessage): SyncMessage {
  if (message.type === 'slices') return { ...message, items: [...message.items, ...message.items] }
  if (message.type === 'wants') return { ...message, items: [...message.items, ...message.items] }
  throw new Error('No list')
}

function update(bytes: Uint8Array, page = notePage): SyncMessage {
  return { type: 'updates', items: [{ page, update: bytes }] }
}

function wants(clients: readonly number[] | undefined): SyncMessage {
  const rows = clients?.map((client) => ({ client, clock: 0 }))
  return { type: 'wants', items: [{ page: notePage, rows }], last: true }
}

interface Scene {
  readonly mesh: VirtualMesh
  readonly one: RecordNode
  readonly two: RecordNode
  readonly bad: HostilePeer
}

/** Two honest nodes and a hostile one. */
async function scene(): Promise<Scene> {
  const mesh = virtualMesh(1, deaf)
  const [one, two] = await started(mesh, 2)
  await mesh.environment.clock.run(write(one, 'one'))
  await mesh.environment.clock.advance(40_000)
  return { mesh, one, two, bad: await HostilePeer.join(mesh) }
}

/** The document is as before, the fault is in the book, and who goes on with it is cut off. */
async function expectHangUp({ one, two, bad }: Scene, again: () => Promise<unknown>): Promise<void> {
  expect(bad.conductAt(one)?.counts.malformed).toBe(1)
  expect(bad.isLinkedTo(one)).toBe(true)
  for (let rounds = 1; rounds < 5 && bad.isLinkedTo(one); rounds++) await again()
  expect(bad.isLinkedTo(one)).toBe(false)
  expect(bad.conductAt(one)).toMatchObject({ hangUps: 1 })
  expect(textsOf(one)).toEqual(['one'])
  expect(agree([one, two])).toBe(true)
}

test.each(brokenRounds)('[REC-54] a round with %s is attributed, and ends in a hang-up', async (_, messages) => {
  const all = await scene()
  const begin = (): Promise<unknown> => all.bad.begin(all.one, messages)
  await begin()
  await expectHangUp(all, begin)
})

/** Answers to a round that an honest node begins. */
const brokenAnswers: readonly (readonly [string, readonly (SyncMessage | Uint8Array)[]])[] = [
  ...malformedFrames.map(([what, frame]) => [what, [frame]] as const),
  ['updates before vectors', [update(new Uint8Array(2))]],
  ['a page twice', [pages(false), pages(true)]],
  [
    'pages out of order',
    [
      {
        type: 'pages',
        items: [
          [otherPage, digest],
          [notePage, digest]
        ],
        last: true
      }
    ]
  ],
  ['vectors that nobody asked for', [pages(true), vectorsOf({ page: otherPage })]],
  ['a vector without slices', [pages(true), vectorsOf({ slices: [] })]],
  ['a slice twice', [pages(true), vectorsOf({ slices: [0, 0] })]],
  [
    'a writer outside its slice',
    [pages(true), vectorsOf({ bits: 3, slices: [1], rows: [{ client: 16, clock: 1, tag }] })]
  ],
  ['two cuts of a page', [pages(true), vectorsOf({ bits: 1, last: false }), vectorsOf({ bits: 2, slices: [1] })]],
  ['entries that nobody wanted', [pages(true), vectorsOf({ rows: [{ client: 7, clock: 1, tag }] }), 'entry' as never]]
]

function vectorsOf({
  page = notePage,
  bits = 0,
  slices: listed = [0],
  rows = [],
  last = true
}: Partial<Extract<SyncMessage, { type: 'vectors' }>['items'][number] & { last: boolean }>): SyncMessage {
  return { type: 'vectors', items: [{ page, bits, slices: listed, rows }], last }
}

test.each(brokenAnswers)('[REC-54] an answer with %s is attributed, and ends in a hang-up', async (_, messages) => {
  const all = await scene()
  const stranger = await keyPairOf(9)
  const frames = messages.map((message) => (message === ('entry' as never) ? update(updateOf(stranger)) : message))
  all.bad.answer(() => frames)
  const ask = (): Promise<void> => all.mesh.environment.clock.advance(40_000)
  while (all.bad.conductAt(all.one) === undefined) await all.mesh.environment.clock.advance(1000)
  await expectHangUp(all, ask)
})

test('[REC-54] who is told what is lacking may send that, once', async () => {
  const all = await scene()
  const { one, bad } = all
  const friend = await keyPairOf(9)
  await bad.begin(one, [openingMessage, slices(), update(updateOf(friend, { body: { text: 'friend' } }))])
  expect(textsOf(one)).toEqual(['friend', 'one'])
  expect(bad.conductAt(one)).toBeUndefined()
  const twoChains = update(updateOf(friend, { seq: 1, body: { text: 'again' } }))
  await bad.begin(one, [openingMessage, slices(), twoChains, twoChains])
  expect(bad.conductAt(one)?.counts.malformed).toBe(1)
})

test('[REC-53] forged, replayed and moved entries in a round are attributed and end in a hang-up', async () => {
  const { mesh, one, two, bad } = await scene()
  const victim = await keyPairOf(1)
  await mesh.environment.clock.run(write(two, 'two'))
  await mesh.environment.clock.advance(40_000)
  const before = one.document.digest()
  const wrong = [
    { ...chainOf(victim, { seq: 5 }), value: chainOf(bad.keyPair, { seq: 5 }).value },
    { ...chainOf(victim, { seq: 5, page: otherPage }), client: chainOf(victim).client },
    { ...chainOf(victim, { seq: 0 }), seq: 7 },
    { ...chainOf(bad.keyPair, { seq: 1 }), key: victim.nodeId }
  ]
  for (let count = 0; count < 40 && bad.isLinkedTo(one); count++) {
    const chain = wrong[count % wrong.length] ?? expect.unreachable()
    await bad.begin(one, [openingMessage, slices(), update(writeUpdate([chain]))])
  }
  expect(bad.conductAt(one)?.counts).toMatchObject({ refused: 11, malformed: 0 })
  expect(bad.isLinkedTo(one)).toBe(false)
  expect(one.document.digest()).toBe(before)
})

test('[REC-54] endless lists, drawn-out rounds and a flood of rounds end, and honest rounds go on meanwhile', async () => {
  const { mesh, one, two, bad } = await scene()
  const { clock } = mesh.environment
  bad.answer(async function* () {
    for (;;) {
      yield { type: 'pages', items: [], last: false } as const
      await new Promise<void>((resolve) => clock.setTimer(100, resolve))
    }
  })
  await clock.run(write(one, 'more'))
  await clock.advance(60_000)
  expect(textsOf(two)).toEqual(['more'])
  expect(bad.conductAt(one)?.counts.malformed).toBeGreaterThan(0)
})

test('[REC-54] a peer that begins round after round is not answered any more, and hung up on', async () => {
  const { one, bad } = await scene()
  for (let rounds = 0; rounds < 300 && bad.isLinkedTo(one); rounds++) {
    await bad.begin(one, [openingMessage]).catch(() => {})
  }
  expect(bad.conductAt(one)?.counts.flood).toBeGreaterThan(50)
  expect(bad.isLinkedTo(one)).toBe(false)
})

test('[REC-54] an entry that begins above what was told is a fault', async () => {
  const { one, bad } = await scene()
  const stranger = updateOf(await keyPairOf(9), { seq: 5, start: 5 })
  await bad.begin(one, [openingMessage, slices(), update(stranger)])
  expect(bad.conductAt(one)?.lastFault).toContain('begins above')
})

test('[REC-54] known entries sent again and again in a round are noticed at the second one', async () => {
  const { mesh, one, bad } = await scene()
  const known = updateOf(one.keyPair, { body: { text: 'one' } })
  const channel = await bad.begin(one, [openingMessage, slices(), update(known), update(known)])
  await expect(mesh.environment.clock.run(channel.send([encodeSync(noWants)]))).rejects.toThrow('closed')
  expect(bad.conductAt(one)?.lastFault).toContain('nobody asked for')
})
