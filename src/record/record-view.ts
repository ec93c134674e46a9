import type { PageId } from '../core/ids.js'
import type { Unsubscribe } from '../net/network.js'
import type { PeerConduct } from './conduct.js'
import type { Evidence, EvidenceListener } from './evidence.js'

/** What a node holds of the shared document, and what it saw on the way there: for reading, checking and passing on. */
export interface RecordView {
  /** The pages that hold an entry, in ascending order: `node/7`, `release/<model>/<version>`. */
  pages(): PageId[]
  /** A page as a Yjs V1 update that any Yjs document can apply; undefined when there is no such page. */
  export(page: PageId): Uint8Array | undefined
  /** Equal on two nodes exactly when they hold the same document under the same fleet root; 32 hexadecimal characters. */
  digest(): string
  /** What each peer did wrong here since the start, of the peers that did: at most 1024. */
  conduct(): readonly PeerConduct[]
  /** What proves that writers signed two values for one clock, as far as this process has met it; at most 64. */
  evidence(): readonly Evidence[]
  /** Hears of new evidence; `isEvidence` verifies it anywhere. */
  onEvidence(listener: EvidenceListener): Unsubscribe
}
