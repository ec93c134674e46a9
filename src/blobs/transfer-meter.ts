import type { NodeId } from '../core/ids.js'

/** Hears how fast bytes came from a peer: so many in so many ms. */
export type TransferListener = (peer: NodeId, bytes: number, ms: number) => void

/** Answers that came within this time are told of together, ms: a clock says little of less. */
const leastSpanMs = 50

/** Measures how fast one peer answers, over the time in which it owes something. Time is a value passed in. */
export class TransferMeter {
  readonly #tell: (bytes: number, ms: number) => void
  #sinceMs = 0
  #bytes = 0

  /** @param tell - told at most once a request */
  constructor(tell: (bytes: number, ms: number) => void) {
    this.#tell = tell
  }

  /** Something is asked of a peer that owed nothing. */
  begin(nowMs: number): void {
    this.#sinceMs = nowMs
    this.#bytes = 0
  }

  /** Bytes came. */
  took(bytes: number): void {
    this.#bytes += bytes
  }

  /** A request is answered; nothing is owed any more if it was the last. */
  answered(nowMs: number, isLast: boolean): void {
    const ms = nowMs - this.#sinceMs
    if (this.#bytes === 0 || (ms < leastSpanMs && !isLast)) return
    this.#tell(this.#bytes, ms)
    this.begin(nowMs)
  }
}
