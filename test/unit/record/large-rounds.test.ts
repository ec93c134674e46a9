import { expect, test } from 'vitest'
import { parsePageId, type PageId } from '../../../src/core/ids.js'
import { clientIdOf } from '../../../src/record/entry.js'
import { maxMessageBytes } from '../../../src/record/wire.js'
import { entriesOf, Pair, trustingStore, type PlacedEntry } from './large.js'
import { agree, deaf, started, textsOf, virtualMesh, write } from './mesh.js'

/** The same writers, all on one page. */
function onOnePage(entries: readonly PlacedEntry[], page: PageId): PlacedEntry[] {
  return entries.map((entry) => ({ ...entry, page, client: clientIdOf(page, entry.writer) }))
}

test('[REC-46] a page of 14 000 writers meets one of a few: messages stay small, and both get everything', async () => {
  const page = parsePageId('note/a')
  const [few, many] = [entriesOf(0, 3, 1), entriesOf(3, 14_000, 1)].map((entries) => onOnePage(entries, page))
  const pair = await Pair.of(trustingStore(few ?? []), trustingStore(many ?? []))
  expect((await pair.round()).more).toBe(false)
  expect(pair.areEqual).toBe(true)
  expect(pair.largestBytes).toBeLessThanOrEqual(maxMessageBytes)
}, 60_000)

test('[REC-52] a node goes on by itself until nothing is left', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2, { init: { syncPeriodMs: 1e9 } })
  mesh.hub.isolate(one.keyPair.nodeId)
  const pages = Array.from({ length: 4200 }, (_, number) => parsePageId(`note/${number}`))
  await clock.run(Promise.all(pages.map((page) => write(one, 'x', page))))
  mesh.hub.heal(one.keyPair.nodeId)
  await clock.advance(5000)
  expect(textsOf(two)).toHaveLength(4200)
  expect(agree([one, two])).toBe(true)
}, 60_000)
