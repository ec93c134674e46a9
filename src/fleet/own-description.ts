import { check, encode, equalBytes } from '../core/codec.js'
import type { Clock, Timer } from '../core/environment.js'
import { messageOf } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import { bucketPage } from '../record/bucket.js'
import type { SharedDocument } from '../record/shared-document.js'
import { nodeKind, nodeSchema, type NodeDescription } from './description.js'
import type { Members } from './members.js'

/** What a node's own description is written with. */
export interface OwnDescriptionComponents {
  readonly self: NodeId
  readonly document: SharedDocument
  readonly members: Members
  readonly clock: Clock
  readonly logger: Logger
}

/**
 * A node that finds itself forgotten says at once that it is there; then at most once in this time, ms. So a member that
 * forgets it again and again makes it write little, and the others do not take it for a flood.
 */
const returnPauseMs = 10_000

/** What this node says of itself, and that it keeps being said. */
export class OwnDescription {
  readonly #components: OwnDescriptionComponents
  #description: NodeDescription
  #isRunning = false
  #isAnnounced = false
  #isAnnouncing = false
  #returnTimer: Timer | undefined
  #returnAt = -Infinity

  constructor(components: OwnDescriptionComponents, description: NodeDescription) {
    this.#components = components
    this.#description = description
  }

  /** What this node says of itself. */
  get value(): NodeDescription {
    return this.#description
  }

  /** Writes the description, if the mesh does not know it. The document must be started. */
  async start(): Promise<void> {
    this.#isRunning = true
    this.#isAnnounced = false
    await this.set(this.#description)
  }

  stop(): void {
    this.#isRunning = false
    this.#returnTimer?.cancel()
    this.#returnTimer = undefined
  }

  /**
   * Writes what this node says of itself, unless the mesh knows it already and has not forgotten this node.
   *
   * @throws MurmurateError `INVALID_REQUEST`
   */
  async set(description: NodeDescription): Promise<void> {
    const { self, members } = this.#components
    this.#description = check(description, nodeSchema, 'node description')
    const known = members.entry(self)?.body
    // Canonical bytes: neither the order of keys nor a field that is undefined is a change.
    const isKnown = known !== undefined && equalBytes(encode(known), encode(this.#description))
    if (!isKnown || members.isForgotten(self)) await this.#write()
  }

  /** The epoch of this node's description, if it was written in this run; else undefined, and it is being written. */
  announcedEpoch(): number | undefined {
    if (this.#isAnnounced) return this.#components.members.entry(this.#components.self)?.epoch
    if (this.#isRunning && !this.#isAnnouncing) void this.#announce()
    return undefined
  }

  /** To be called when members have changed: whoever was forgotten and runs says so. */
  comeBack(): void {
    const { self, members, clock } = this.#components
    if (!this.#isRunning || this.#returnTimer !== undefined || !members.isForgotten(self)) return
    this.#returnTimer = clock.setTimer(Math.max(0, this.#returnAt - clock.monotonic()), () => {
      this.#returnTimer = undefined
      this.#returnAt = clock.monotonic() + returnPauseMs
      void this.#return()
    })
  }

  async #return(): Promise<void> {
    const { logger } = this.#components
    logger.warn('a member has forgotten this node, which runs: it describes itself anew')
    try {
      await this.set(this.#description)
    } catch (error) {
      logger.error(`this node was forgotten and could not describe itself: ${messageOf(error)}`)
      this.comeBack()
    }
  }

  async #announce(): Promise<void> {
    this.#isAnnouncing = true
    try {
      await this.#write()
    } catch (error) {
      this.#components.logger.debug(`this node was not announced: ${messageOf(error)}`)
    } finally {
      this.#isAnnouncing = false
    }
  }

  async #write(): Promise<void> {
    const { self, document } = this.#components
    await document.write(nodeKind, bucketPage('node', self), this.#description)
    this.#isAnnounced = true
  }
}
