import { beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { parsePageId, type NodeId, type PageId } from '../../../src/core/ids.js'
import { silentLogger } from '../../../src/core/logger.js'
import type { KeyPair } from '../../../src/identity/keypair.js'
import type { GossipVerdict } from '../../../src/net/network.js'
import { Conduct } from '../../../src/record/conduct.js'
import { DeclinedBook } from '../../../src/record/declined.js'
import { Intake, writerRate } from '../../../src/record/intake.js'
import type { PageStore } from '../../../src/record/store.js'
import { encodeUpdates, type PageUpdate } from '../../../src/record/wire.js'
import { VirtualClock } from '../../support/virtual-clock.js'
import { keyPairOf, makeStore, notePage, updateOf, type EntryOptions } from './fixtures.js'

let clock: VirtualClock
let store: PageStore
let conduct: Conduct
let intake: Intake
let writer: KeyPair
let sender: NodeId
const hangUp = vi.fn(() => Promise.resolve())

beforeAll(async () => {
  writer = await keyPairOf(1)
  sender = (await keyPairOf(7)).nodeId
})

beforeEach(() => {
  clock = new VirtualClock()
  store = makeStore()
  const declined = new DeclinedBook()
  conduct = new Conduct({ network: { hangUp, onPeer: () => () => {} }, clock, logger: silentLogger })
  const ingest = (updates: readonly PageUpdate[]): ReturnType<typeof store.ingest> => {
    const result = store.ingest(updates)
    declined.add(result.declined)
    return result
  }
  intake = new Intake({ clock, store, declined, conduct, ingest })
})

const receive = (update: Uint8Array, page: PageId = notePage): GossipVerdict =>
  intake.receive({ sender, data: encodeUpdates([{ page, update }]) })
const entry = (options: EntryOptions = {}): Uint8Array => updateOf(writer, { start: options.seq ?? 0, ...options })
const counts = (): Record<string, number> => ({ ...conduct.report()[0]?.counts })

test('an honest entry travels on, also when it is known already; an older one does not', () => {
  expect(receive(entry())).toBe('accept')
  expect(receive(entry())).toBe('accept')
  expect(receive(entry({ seq: 1 }))).toBe('accept')
  expect(receive(entry())).toBe('ignore')
  expect(conduct.report()).toEqual([])
})

test('[REC-53] what is not signed, and what is no message, is held against whoever passed it on', () => {
  const update = entry({ seq: 3, start: 0 })
  update[update.length - 2] = (update[update.length - 2] ?? 0) ^ 1
  expect(receive(update)).toBe('reject')
  for (const data of [new Uint8Array(), Uint8Array.of(0xff), Uint8Array.of(1, 2, 3)]) {
    expect(intake.receive({ sender, data })).toBe('reject')
  }
  expect(counts()).toMatchObject({ malformed: 3 })
})

test('[REC-56] a body of another version and a page of an unknown kind go no further here, and nobody is to blame', () => {
  const other = entry({ body: { later: 'form' } })
  expect(receive(other)).toBe('ignore')
  expect(receive(other)).toBe('ignore')
  expect(receive(other, parsePageId('later/a'))).toBe('ignore')
  expect(conduct.report()[0]).toMatchObject({ score: 0, counts: { refused: 0, unknownKind: 1 } })
})

test('[REC-55] above its rate a writer is not looked at and not passed on, and is again when tokens came back', async () => {
  const seen = vi.spyOn(store, 'ingest')
  let accepted = 0
  for (let seq = 0; seq < 2 * writerRate.capacity; seq++) if (receive(entry({ seq })) === 'accept') accepted += 1
  expect(accepted).toBe(writerRate.capacity)
  expect(seen.mock.calls.filter(([updates]) => updates.length > 0)).toHaveLength(accepted)
  expect(counts()).toMatchObject({ limited: 2 * writerRate.capacity - accepted, refused: 0 })
  await clock.advance(100)
  const verdicts = [1000, 1001, 1002].map((seq) => receive(entry({ seq })))
  expect(verdicts).toEqual(['accept', 'accept', 'ignore'])
  const updates = [entry({ seq: 1001 }), entry({ seq: 1002 })].map((update) => ({ page: notePage, update }))
  expect(intake.receive({ sender, data: encodeUpdates(updates) })).toBe('ignore')
})

test('[REC-55] a writer with 26 models in a storm of 8 s is never limited', async () => {
  const atMs = [0]
  for (let gap = 100; (atMs.at(-1) ?? 0) < 8000; gap *= 1.25) atMs.push((atMs.at(-1) ?? 0) + gap)
  const verdicts = new Set<GossipVerdict>()
  for (const [seq, at] of atMs.entries()) {
    await clock.advance(at - clock.monotonic())
    for (let model = 0; model < 26; model++) {
      const page = parsePageId(`note/${model}`)
      verdicts.add(receive(entry({ page, seq }), page))
    }
  }
  expect([...verdicts]).toEqual(['accept'])
})

test('[REC-55] strangers pay with the tokens of who passes them on, and take no memory', async () => {
  for (let page = 0; page < 400; page++) {
    const update = entry({ page: parsePageId(`note/${page}`) })
    update[update.length - 2] = (update[update.length - 2] ?? 0) ^ 1
    receive(update, parsePageId(`note/${page}`))
  }
  expect(intake.size).toBeLessThanOrEqual(4)
  const honest = await keyPairOf(9)
  const other = (await keyPairOf(8)).nodeId
  const update = { page: notePage, update: updateOf(honest) }
  expect(intake.receive({ sender: other, data: encodeUpdates([update]) })).toBe('accept')
})

test('[REC-55] a writer that makes page after page is limited by its own tokens, whoever passes them on', () => {
  const verdicts = Array.from({ length: 2 * writerRate.capacity }, (_, number) => {
    const page = parsePageId(`note/${number}`)
    return receive(entry({ page }), page)
  })
  expect(verdicts.filter((verdict) => verdict === 'accept')).toHaveLength(writerRate.capacity)
})

test('[REC-53] what is known travels on only as often as chance repeats it', () => {
  receive(entry())
  const verdicts = Array.from({ length: 1010 }, () => receive(entry()))
  expect(verdicts.filter((verdict) => verdict === 'accept')).toHaveLength(1000)
  expect(counts()).toMatchObject({ flood: 10 })
})

test('[REC-45] a chain that cannot be connected here goes no further: nobody has verified it', () => {
  expect(receive(entry({ seq: 7 }))).toBe('ignore')
  expect(conduct.report()).toEqual([])
  expect(receive(entry())).toBe('accept')
  expect(receive(entry({ seq: 7 }))).toBe('accept')
})
