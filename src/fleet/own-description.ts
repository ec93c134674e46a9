import { check, encode, equalBytes } from '../core/codec.js'
import type { Clock, Timer } from '../core/environment.js'
import { errorCode, messageOf } from '../core/errors.js'
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
  #announcing: Promise<number | undefined> | undefined
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

  /**
   * Writes the description, if the mesh does not know it. The document must be started. A node that does not belong to the
   * fleet, or does not know its root yet, describes itself once it does.
   */
  async start(): Promise<void> {
    this.#isRunning = true
    this.#isAnnounced = false
    try {
      await this.set(this.#description)
    } catch (error) {
      if (errorCode(error) !== 'NOT_PERMITTED') throw error
      this.#components.logger.info(`this node is no member yet: ${messageOf(error)}`)
    }
  }

  /** To be called when another fleet root is in force: this node may be let in. */
  rightsChanged(): void {
    if (!this.#isRunning) return
    this.set(this.#description).catch((error: unknown) =>
      this.#components.logger.info(`this node does not describe itself: ${messageOf(error)}`)
    )
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
    const before = this.#description
    this.#description = check(description, nodeSchema, 'node description')
    const known = members.entry(self)?.body
    // Canonical bytes: neither the order of keys nor a field that is undefined is a change.
    const isKnown = known !== undefined && equalBytes(encode(known), encode(this.#description))
    if (isKnown && !members.isForgotten(self)) return
    try {
      await this.#write()
    } catch (error) {
      this.#description = before
      throw error
    }
  }

  /**
   * Has the description written in this run, if it was not, and resolves to its epoch; to undefined when the node is stopped
   * or cannot write.
   */
  announce(): Promise<number | undefined> {
    if (!this.#isRunning) return Promise.resolve(undefined)
    if (this.#isAnnounced) return Promise.resolve(this.#epoch)
    const announcing = this.#announcing ?? this.#announce().finally(() => (this.#announcing = undefined))
    this.#announcing = announcing
    return announcing
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

  get #epoch(): number | undefined {
    return this.#components.members.entry(this.#components.self)?.epoch
  }

  async #announce(): Promise<number | undefined> {
    try {
      await this.#write()
      return this.#epoch
    } catch (error) {
      this.#components.logger.debug(`this node was not announced: ${messageOf(error)}`)
      return undefined
    }
  }

  async #write(): Promise<void> {
    const { self, document } = this.#components
    await document.write(nodeKind, bucketPage('node', self), this.#description)
    this.#isAnnounced = true
  }
}
