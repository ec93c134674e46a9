import type { NodeId } from '../core/ids.js'
import { rootHash, type SignedRoot } from './fleet-root.js'

/** What the fleet root lets some members do, and not all. */
export type Role = 'operator' | 'publisher'

/** Who may do what at this moment, as the newest fleet root that this node knows says. */
export interface Authority {
  /** Names the root: equal on two nodes exactly when they go by the same one. Empty in a mesh without a root. */
  readonly id: string
  /** Whether what this node writes counts at all: it is not revoked, and on the list of members if there is one. */
  isMember(nodeId: NodeId): boolean
  /** Whether it may do what this role stands for. */
  hasRole(nodeId: NodeId, role: Role): boolean
  /** How many publishers must sign the same release before it counts, at least 1. */
  readonly releaseThreshold: number
  /** Called after another root has come into force. Returns what ends it. */
  onChange(listener: () => void): () => void
}

/** The authority of a mesh without a fleet root: whoever has the mesh secret may do everything. */
export const openAuthority: Authority = Object.freeze({
  id: '',
  isMember: () => true,
  hasRole: () => true,
  releaseThreshold: 1,
  onChange: () => () => {}
})

/** The rights that one root gives; it never changes. Of a root that is not known: nobody may do anything. */
export function authorityOf(signed: SignedRoot | undefined): Authority {
  const { operators = [], publishers = [], members = [], revoked = [], releaseThreshold = 1 } = signed?.root ?? {}
  const roles = { operator: new Set(operators), publisher: new Set(publishers) }
  const [listed, out] = [new Set(members === 'open' ? [] : members), new Set(revoked)]
  const isListed = (id: NodeId): boolean =>
    members === 'open' || listed.has(id) || roles.operator.has(id) || roles.publisher.has(id)
  return {
    id: signed === undefined ? 'none' : rootHash(signed),
    isMember: (id) => !out.has(id) && isListed(id),
    hasRole: (id, role) => !out.has(id) && roles[role].has(id),
    releaseThreshold,
    onChange: () => () => {}
  }
}
