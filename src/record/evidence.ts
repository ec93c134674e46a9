import { equalBytes } from '../core/codec.js'
import type { NodeId, PageId } from '../core/ids.js'
import { Listeners } from '../core/listeners.js'
import type { Logger } from '../core/logger.js'
import { SignatureVerifier } from '../identity/signature.js'
import { claimOf, openEntry } from './entry.js'

/**
 * Two values that one writer signed for one clock of a page: its disk was restored, its key is in two places, or it lies.
 * Whoever has the bytes can verify it with `isEvidence`, without a document.
 */
export interface Evidence {
  readonly page: PageId
  readonly writer: NodeId
  /** The clock that both are for. */
  readonly seq: number
  /** Both whole entries, signatures included; at most 128 KiB each. */
  readonly values: readonly [Uint8Array, Uint8Array]
}

/** Hears of new evidence. */
export type EvidenceListener = (evidence: Evidence) => void

/** Whether the writer did sign both values, and they differ. */
export function isEvidence(evidence: Evidence): boolean {
  const verifier = new SignatureVerifier({ capacity: 1 })
  const [one, other] = evidence.values
  return !equalBytes(one, other) && evidence.values.every((value) => isSigned(verifier, evidence, value))
}

function isSigned(verifier: SignatureVerifier, position: Evidence, value: Uint8Array): boolean {
  try {
    const { signer, domain, message, signature } = claimOf(position, openEntry(value))
    return verifier.verify(signer, domain, message, signature)
  } catch {
    return false
  }
}

/** Pages and writers of which evidence is kept; with values of 128 KiB these are 16 MiB at most. */
const maxEvidence = 64

/** The evidence that this process has met: one for a page and writer, the first ones stay. */
export class EvidenceBook {
  readonly #kept = new Map<string, Evidence>()
  readonly #logger: Logger
  readonly #listeners: Listeners<[evidence: Evidence]>

  constructor(logger: Logger) {
    this.#logger = logger
    this.#listeners = new Listeners('evidence', logger)
  }

  /** Whether nothing more is to be learnt of this writer on this page. */
  isSettled(page: PageId, writer: NodeId): boolean {
    return this.#kept.size >= maxEvidence || this.#kept.has(`${page} ${writer}`)
  }

  /** Keeps what is new, and tells of it. */
  add(evidence: Evidence): void {
    const { page, writer, seq } = evidence
    if (this.isSettled(page, writer)) return
    this.#kept.set(`${page} ${writer}`, evidence)
    this.#logger.warn(`${writer} signed two values for clock ${seq} of ${page}`)
    this.#listeners.tell(evidence)
  }

  /** Hears of evidence when it is met. */
  onNew(listener: EvidenceListener): () => void {
    return this.#listeners.add(listener)
  }

  /** All that is kept, the oldest first. */
  all(): readonly Evidence[] {
    return [...this.#kept.values()]
  }
}
