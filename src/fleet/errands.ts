import type { NodeId } from '../core/ids.js'

/** A neighbour's question that this node looks into. */
export interface Errand {
  readonly asker: NodeId
  readonly id: number
  readonly target: NodeId
  /** How long ago the target was heard when it was asked, ms; undefined for never. */
  readonly silentMs: number | undefined
  readonly startedAt: number
  readonly endsAt: number
}

/** The answer to a neighbour's question. */
export interface ErrandAnswer {
  readonly type: 'answer'
  readonly peer: NodeId
  readonly id: number
  readonly silentMs: number | undefined
}

/** Questions of one neighbour looked into at a time, 512 links * 8 in all. Of more it hears nothing, as from a busy helper. */
const maxPerAsker = 8

/** What a node does for others: it pings whom they do not hear, and answers when it does or the time is over. */
export class Errands {
  readonly #answer: (answer: ErrandAnswer) => void
  #errands: Errand[] = []

  constructor(answer: (answer: ErrandAnswer) => void) {
    this.#answer = answer
  }

  /** When the next one ends; Infinity when there is none. */
  get nextDeadline(): number {
    return Math.min(Infinity, ...this.#errands.map(({ endsAt }) => endsAt))
  }

  /** Takes a question; returns whether there is room for it. */
  begin(errand: Errand): boolean {
    if (this.#errands.filter(({ asker }) => asker === errand.asker).length >= maxPerAsker) return false
    this.#errands.push(errand)
    return true
  }

  /** A target was heard: whoever asked for it is told. */
  heard(target: NodeId): void {
    this.#finish(
      (errand) => errand.target === target,
      () => 0
    )
  }

  /** Answers what is over. */
  tick(now: number): void {
    const age = ({ silentMs, startedAt }: Errand): number | undefined =>
      silentMs === undefined ? undefined : silentMs + now - startedAt
    this.#finish(({ endsAt }) => now >= endsAt, age)
  }

  #finish(isOver: (errand: Errand) => boolean, age: (errand: Errand) => number | undefined): void {
    const over = this.#errands.filter(isOver)
    if (over.length === 0) return
    this.#errands = this.#errands.filter((errand) => !over.includes(errand))
    for (const errand of over)
      this.#answer({ type: 'answer', peer: errand.asker, id: errand.id, silentMs: age(errand) })
  }
}
