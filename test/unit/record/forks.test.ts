import { expect, test } from 'vitest'
import { encode } from '../../../src/core/codec.js'
import { storedEntry } from '../../../src/record/admission.js'
import type { StoredEntry } from '../../../src/record/page.js'
import { entriesOf, Pair, trustingStore } from './large.js'

/** Two values of one writer for one clock; the second one stays. */
function fork(): readonly [StoredEntry, StoredEntry] {
  const [first] = entriesOf(0, 1, 5)
  if (first === undefined) return expect.unreachable()
  const entry = { ...first.entry, epoch: 2 }
  const value = encode([2, 1000, encode({ text: 'later' }), new Uint8Array(64)])
  return [first, storedEntry(entry, first.client, value)]
}

test('[REC-17] a round finds two values for one clock, whichever side has the one that stays', async () => {
  const [loser, winner] = fork()
  const others = entriesOf(1, 200, 1)
  for (const [here, there] of [
    [loser, winner],
    [winner, loser]
  ] as const) {
    const pair = await Pair.of(trustingStore(others, [here]), trustingStore(others, [there]))
    await pair.round()
    expect(pair.areEqual).toBe(true)
    expect(pair.stores[0].entryOf(winner.entry.page, winner.client)?.epoch).toBe(2)
  }
})
