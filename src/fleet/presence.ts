import type { NodeId } from '../core/ids.js'
import type { Unsubscribe } from '../net/network.js'

/**
 * What this node believes of another one. A view: it never enters the document and deletes nothing. A node that was told to
 * stop has `left`; one that vanished has `failed`; one that is `suspected` counts as here until the verdict.
 */
export type PresenceState = 'alive' | 'suspected' | 'failed' | 'left' | 'unknown'

/** Who can be reached at this moment, as far as this node knows. */
export interface Presence {
  /** What is believed of a node; `unknown` when nothing was ever heard of it since this node started. */
  stateOf(nodeId: NodeId): PresenceState
  /** Since when it is believed to be gone, ms since 1970 on this node's clock; undefined while it is not. */
  offlineSince(nodeId: NodeId): number | undefined
  /** Hears of nodes whose state changed, in batches. */
  onChange(listener: (nodes: readonly NodeId[]) => void): Unsubscribe
}
