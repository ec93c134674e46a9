import { createHash } from 'node:crypto'
import type { NodeId } from '../core/ids.js'
import { bucketCount, bucketOf } from '../record/bucket.js'

/** Bytes of the digest of one bucket, and of the whole. */
export const digestBytes = 8
/** Bytes of the digests of all buckets, one behind the other. */
export const summaryBytes = bucketCount * digestBytes

/**
 * A digest of a set of lines, one a node, by buckets: the exclusive or of their hashes, so that a change costs one hash. It is
 * there to notice what gossip lost; who makes it lie only keeps news from itself.
 */
export class RosterDigest {
  readonly #summary = new Uint8Array(summaryBytes)

  /** Adds a line, or takes it out again. */
  toggle(nodeId: NodeId, line: string): void {
    const hash = createHash('sha256').update(`${nodeId} ${line}`).digest()
    const start = bucketOf(nodeId) * digestBytes
    for (let at = 0; at < digestBytes; at++)
      this.#summary[start + at] = (this.#summary[start + at] ?? 0) ^ (hash[at] ?? 0)
  }

  /** The digest of all. */
  get whole(): Uint8Array {
    const whole = new Uint8Array(digestBytes)
    for (const [at, byte] of this.#summary.entries()) whole[at % digestBytes] = (whole[at % digestBytes] ?? 0) ^ byte
    return whole
  }

  /** The digests of all buckets. */
  get summary(): Uint8Array {
    return this.#summary.slice()
  }

  /** The buckets in which another summary differs. */
  differing(summary: Uint8Array): Set<number> {
    const differing = new Set<number>()
    for (const [at, byte] of this.#summary.entries())
      if (byte !== summary[at]) differing.add(Math.floor(at / digestBytes))
    return differing
  }
}
