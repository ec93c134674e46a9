import type { NodeId } from '../core/ids.js'

/** What the fleet root lets some members do, and not all. */
export type Role = 'operator' | 'publisher'

/** Who may do what at this moment, as the newest fleet root that this node knows says. */
export interface Authority {
  /** Names the root: equal on two nodes exactly when they go by the same one. Empty in a mesh without a root. */
  readonly id: string
  /** Whether what this node writes counts at all: it is not revoked, and on the list of members if there is one. */
  isMember(nodeId: NodeId): boolean
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
