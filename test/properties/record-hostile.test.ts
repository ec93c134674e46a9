import fc from 'fast-check'
import { expect, inject, test } from 'vitest'
import { parsePageId } from '../../src/core/ids.js'
import type { Network } from '../../src/net/network.js'
import { attackNames, HostileMember } from '../support/hostile-member.js'
import { keyPairOf, noteKind } from '../unit/record/fixtures.js'
import { agree, recordTopic, started, virtualMesh, type RecordNode, type VirtualMesh } from '../unit/record/mesh.js'

/** Pages on which the hostile member may have an entry: its own page, and the two of `oddities.leaping`. */
const ownPage = parsePageId('note/own')
const maxEntries = 3
/** A round of each side, and as many that linger until both ends have closed. */
const maxChannels = 8
/** Of two nodes and the attacker: periods, flushes, and for each link rounds with their deadlines and what lingers. */
const maxTimers = 100
/** The log is rewritten above this, or above four times what it holds: 2 kB an entry at most, and the two honest notes. */
const compactAboveBytes = 20_000
const maxLogBytes = compactAboveBytes + 4 * (maxEntries + 2) * 2500

const attack = fc.record({
  name: fc.constantFrom(...attackNames),
  times: fc.integer({ min: 1, max: 20 }),
  pauseMs: fc.constantFrom(0, 50, 2000)
})

function sizesOf(node: RecordNode): { readonly entries: number; readonly logBytes: number } {
  const logBytes = node.disk.records.reduce((sum, { update }) => sum + update.byteLength, 0)
  return { entries: [...node.document.all(noteKind)].length, logBytes }
}

/** The most that a link of this node has. */
function channelsOf({ hub }: VirtualMesh, network: Network): number {
  return Math.max(0, ...network.peers().map((peer) => hub.link(network.nodeId, peer)?.channels.size ?? 0))
}

test('[SIM-6] no sequence of hostile messages makes a node hold more than its bound, or stop working', async () => {
  const sequence = fc.array(attack, { minLength: 5, maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(fc.nat(1_000_000), sequence, async (seed, attacks) => {
      const mesh = virtualMesh(seed, { latencyMs: [1, 20] })
      const { clock } = mesh.environment
      const [one, two] = await started(mesh, 2, { init: { compactAboveBytes } })
      const hostile = new HostileMember({
        hub: mesh.hub,
        keyPair: await keyPairOf(9),
        topic: recordTopic,
        ownPages: [ownPage],
        otherPages: [parsePageId('note/a'), parsePageId('note/b')],
        // Attacks only as it is told.
        periodMs: 1e9,
        onAttack: () => {},
        victims: [one.keyPair.nodeId, two.keyPair.nodeId]
      })
      hostile.start()
      await clock.advance(100)
      for (const node of [one, two]) {
        await clock.run(node.document.write(noteKind, parsePageId('note/a'), { text: `${node.number}` }))
      }
      for (const { name, times, pauseMs } of attacks) {
        for (let count = 0; count < times; count++) hostile.attack(name)
        await clock.advance(pauseMs)
        if (pauseMs >= 50) expect(channelsOf(mesh, hostile.network)).toBeLessThanOrEqual(maxChannels)
      }
      await clock.advance(60_000)
      expect(clock.pending).toBeLessThanOrEqual(maxTimers)
      for (const node of [one, two]) {
        await clock.run(node.document.write(noteKind, parsePageId('note/a'), { text: `${node.number} again` }))
      }
      hostile.stop()
      await clock.advance(30_000)
      for (const node of [one, two]) {
        expect(sizesOf(node).entries).toBeLessThanOrEqual(2 + maxEntries)
        expect(sizesOf(node).logBytes).toBeLessThanOrEqual(maxLogBytes)
      }
      expect(agree([one, two])).toBe(true)
      const texts = one.document.entries(noteKind, parsePageId('note/a')).map(({ body }) => body.text)
      expect(texts.toSorted()).toEqual(['0 again', '1 again'])
      await clock.run(Promise.all([one.stop(), two.stop()]))
    }),
    { numRuns: 2 * inject('seeds'), seed: 20_262 }
  )
}, 60_000)
