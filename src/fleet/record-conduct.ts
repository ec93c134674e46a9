import type { NodeId } from '../core/ids.js'
import type { SharedDocument } from '../record/shared-document.js'

/** What a node has done wrong, as this node counted it. */
export interface Conduct {
  readonly peer: NodeId
  /** Messages of it that were refused or were none. */
  readonly refusals: number
  /** Places for which it signed two values. */
  readonly equivocations: number
}

/** What the record knows of each node: refusals of the peer that sent them, evidence of the writer that signed it. */
export function conductIn(document: Pick<SharedDocument, 'conduct' | 'evidence'>): Conduct[] {
  const found = new Map<NodeId, Conduct>()
  for (const { peer, counts } of document.conduct()) {
    found.set(peer, { peer, refusals: counts.refused + counts.malformed, equivocations: 0 })
  }
  for (const { writer } of document.evidence()) {
    const { refusals = 0, equivocations = 0 } = found.get(writer) ?? {}
    found.set(writer, { peer: writer, refusals, equivocations: equivocations + 1 })
  }
  return [...found.values()]
}
