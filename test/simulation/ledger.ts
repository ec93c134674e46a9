import type { NodeId, PageId } from '../../src/core/ids.js'
import type { Entry } from '../../src/record/entry.js'

/** What became of a text that an honest node was told to write. */
interface Attempt {
  /** Rises over the whole run. */
  readonly order: number
}

/** Violations kept for the report; more of them say nothing new. */
const maxViolations = 20

/**
 * Everything that honest nodes were told to write: the truth beside which every document is held. No text is written
 * twice, so an entry that was forged, moved to another page or played again is not in it, or is older than it may be.
 */
export class Ledger {
  readonly #attempts = new Map<string, Map<string, Attempt>>()
  readonly #acknowledged = new Map<string, Attempt>()
  readonly #honest = new Set<NodeId>()
  readonly #restored = new Set<NodeId>()
  #order = 0
  /** Entries of honest writers that those did not write, and who held them. */
  readonly violations: string[] = []

  /** This node tells the truth. */
  trust(writer: NodeId): void {
    this.#honest.add(writer)
  }

  /** This node came back with an old disk: it may have lost what it wrote last. */
  restored(writer: NodeId): void {
    this.#restored.add(writer)
  }

  /** An honest node is told to write. */
  attempt(writer: NodeId, page: PageId, text: string): Attempt {
    const key = keyOf(writer, page)
    const attempt = { order: this.#order++ }
    this.#attempts.set(key, (this.#attempts.get(key) ?? new Map<string, Attempt>()).set(text, attempt))
    return attempt
  }

  /** The write is on its node's disk. */
  acknowledge(writer: NodeId, page: PageId, attempt: Attempt): void {
    const key = keyOf(writer, page)
    const before = this.#acknowledged.get(key)
    if (before === undefined || before.order < attempt.order) this.#acknowledged.set(key, attempt)
  }

  /** A node holds an entry. */
  check(entry: Entry, holder: number): void {
    if (!this.#honest.has(entry.writer) || this.violations.length >= maxViolations) return
    if (this.#orderOf(entry) === undefined) {
      this.violations.push(`node ${holder} holds ${JSON.stringify(entry.body)} of ${entry.writer} on ${entry.page}`)
    }
  }

  /** Acknowledged writes that are not in a document, nor anything newer of their writers. */
  missing(find: (page: PageId, writer: NodeId) => Entry | undefined): string[] {
    return [...this.#acknowledged].flatMap(([key, { order }]) => {
      const [writer, page] = key.split(' ') as [NodeId, PageId]
      const entry = find(page, writer)
      if (entry !== undefined && (this.#orderOf(entry) ?? -1) >= order) return []
      if (entry !== undefined && this.#restored.has(writer)) return []
      return [`${key}: ${entry === undefined ? 'no entry' : JSON.stringify(entry.body)} instead of write ${order}`]
    })
  }

  #orderOf(entry: Entry): number | undefined {
    const { text } = entry.body as { readonly text: string }
    return this.#attempts.get(keyOf(entry.writer, entry.page))?.get(text)?.order
  }
}

function keyOf(writer: NodeId, page: PageId): string {
  return `${writer} ${page}`
}
