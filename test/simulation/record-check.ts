/** What must hold after a run, and what to say when it does not. */
import { parseNodeId, type PageId } from '../../src/core/ids.js'
import { SignatureVerifier } from '../../src/identity/signature.js'
import { claimOf, openEntry, type Entry } from '../../src/record/entry.js'
import { parseUpdate } from '../../src/record/yjs-update.js'
import type { RecordNode } from '../unit/record/mesh.js'
import { kindOf, kinds } from './pages.js'
import type { RecordRun } from './record-run.js'

/**
 * Pages on which a hostile member has an entry at most: its state page, a shared page, its stone and two pages of its own
 * (`oddities.leaping`).
 */
const maxPagesPerHostile = 5
/** Channels of a link: a round of each side, and as many that linger until both ends have closed. */
const maxChannelsPerLink = 8
/**
 * Timers of a node: two periods, a flush and a sync to disk; for each of about 10 links up to two rounds with two deadlines
 * and a lingering channel; and what is under way in the air.
 */
const maxTimersPerNode = 100

/** Everything that a run promised and did not keep. */
export function problemsOf(run: RecordRun): string[] {
  const [one] = run.nodes
  if (one === undefined) return ['no node is up']
  const find = (page: PageId, writer: Entry['writer']): Entry | undefined =>
    one.document.entry(kindOf(page), page, writer)
  return [
    ...disagreement(run),
    ...run.ledger.violations,
    ...run.ledger.missing(find).map((line) => `an acknowledged write is gone: ${line}`),
    ...unsigned(one),
    ...quarrels(run),
    ...oversized(run)
  ]
}

/** Entries whose signature is not that of their writer, asked of a verifier that remembers nothing. */
function unsigned(node: RecordNode): string[] {
  const verifier = new SignatureVerifier()
  return pagesOf(node).flatMap((page) => {
    const chains = parseUpdate(node.document.export(page) ?? new Uint8Array(2))
    const forged = chains.filter(({ key, seq, value }) => {
      const claim = claimOf({ page, writer: parseNodeId(key), seq }, openEntry(value))
      return !verifier.verify(claim.signer, claim.domain, claim.message, claim.signature)
    })
    return forged.map(({ key }) => `nobody signed what ${key} is said to have written on ${page}`)
  })
}

/** Honest nodes that hung up on each other: what a hostile member gave them to pass on is not their fault. */
function quarrels(run: RecordRun): string[] {
  const hostile = new Set(run.hostile.map(({ network }) => network.nodeId))
  return run.nodes.flatMap(({ number, document }) => {
    const wronged = document.conduct().filter(({ peer, hangUps }) => hangUps > 0 && !hostile.has(peer))
    return wronged.map(({ peer, lastFault }) => `node ${number} hung up on honest ${peer}: ${lastFault}`)
  })
}

/** What grew beyond its bound. */
function oversized(run: RecordRun): string[] {
  const hostile = new Set(run.hostile.map(({ network }) => network.nodeId))
  const problems = run.nodes.flatMap((node) => {
    const foreign = entriesOf(node).filter(({ writer }) => hostile.has(writer)).length
    const links = node.network.peers().map((peer) => run.mesh.hub.link(node.keyPair.nodeId, peer)?.channels.size ?? 0)
    const channels = Math.max(0, ...links)
    return [
      ...(foreign > hostile.size * maxPagesPerHostile
        ? [`node ${node.number}: ${foreign} entries of hostile members`]
        : []),
      ...(channels > maxChannelsPerLink ? [`node ${node.number}: a link has ${channels} channels`] : [])
    ]
  })
  const timers = run.mesh.environment.clock.pending / run.nodes.length
  return timers > maxTimersPerNode ? [...problems, `${timers} timers a node`] : problems
}

/** The first page that is not the same everywhere, who wrote it, and what was last done to it. */
function disagreement(run: RecordRun): string[] {
  const groups = [...run.digests().values()]
  const [[one] = [], [other] = []] = groups
  if (one === undefined || other === undefined) return []
  const [page, writers] = firstDifference(one, other)
  return [
    `${groups.length} different documents, held by ${groups.map(({ length }) => length).join(', ')} nodes`,
    `nodes ${one.number} and ${other.number} differ on ${page}, in the entries of ${writers.join(', ')}`,
    ...run.operations.touching(writers.length > 0 ? writers : [page])
  ]
}

/** The first page, by name, on which two nodes differ, and the writers whose entries differ. */
function firstDifference(one: RecordNode, other: RecordNode): [page: string, writers: string[]] {
  const pages = [...new Set([...pagesOf(one), ...pagesOf(other)])].toSorted()
  for (const page of pages) {
    const [ours, theirs] = [summary(one, page), summary(other, page)]
    const writers = [...new Set([...ours.keys(), ...theirs.keys()])]
    const different = writers.filter((writer) => ours.get(writer) !== theirs.get(writer))
    if (different.length > 0) return [page, different]
  }
  return ['no page', []]
}

function summary({ document }: RecordNode, page: PageId): Map<string, string> {
  const entries = document.entries(kindOf(page), page)
  return new Map(entries.map(({ writer, epoch, seq, body }) => [writer, `${epoch} ${seq} ${JSON.stringify(body)}`]))
}

function entriesOf({ document }: RecordNode): Entry[] {
  return kinds.flatMap((kind) => [...document.all(kind)])
}

function pagesOf(node: RecordNode): PageId[] {
  return [...new Set(entriesOf(node).map(({ page }) => page))]
}
