import { expect, test } from 'vitest'
import { entriesOf, Pair, trustingStore, valueOf, type PlacedEntry } from './large.js'

/** Two values of one writer for one clock; the second one stays. */
function fork(): readonly [PlacedEntry, PlacedEntry] {
  const [first] = entriesOf(0, 1, 5)
  if (first === undefined) return expect.unreachable()
  return [first, { ...first, value: valueOf({ epoch: 2, text: 'later', signature: new Uint8Array(64) }) }]
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
    expect(pair.stores[0].entryOf(winner.page, winner.client)?.epoch).toBe(2)
  }
})
