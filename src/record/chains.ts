import type { PageId } from '../core/ids.js'
import type { Page } from './page.js'
import { packed, type PageUpdate } from './wire.js'
import { writeUpdate, type Chain } from './yjs-update.js'

/** A chain without its value: client, clocks, origins, the key and the root's name. */
const chainHeadBytes = 128

/** Chains as updates of a page, each small enough for one message. */
export function updatesOf(page: PageId, chains: Iterable<Chain>): PageUpdate[] {
  const groups = packed(chains, ({ value }) => value.byteLength + chainHeadBytes)
  return Array.from(groups, (group) => ({ page, update: writeUpdate(group) }))
}

/** The entries of some writers of a page, for one who knows them up to these clocks. Who is not here is left out. */
export function chainsFrom(
  page: Page | undefined,
  starts: Iterable<readonly [client: number, start: number]>
): Chain[] {
  const chains: Chain[] = []
  for (const [client, clock] of starts) {
    const stored = page?.get(client)
    if (stored === undefined) continue
    const { seq, writer } = stored
    const start = Math.min(clock, seq)
    chains.push({ client, start, seq, value: stored.value, key: start === 0 ? writer : undefined })
  }
  return chains
}
