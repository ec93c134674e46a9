import type { Environment, Timer } from '../core/environment.js'
import { messageOf } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import type { Logger } from '../core/logger.js'
import type { GossipMessage, GossipVerdict, Network, Unsubscribe } from '../net/network.js'
import type { IngestResult } from './store.js'
import { decodeUpdates, encodeUpdates, maxPackedBytes, packed, type PageUpdate } from './wire.js'

/** What gossip needs of the document. */
export interface GossipComponents {
  readonly network: Network
  readonly environment: Environment
  readonly logger: Logger
  /** Admits updates that came from a peer. */
  readonly ingest: (updates: readonly PageUpdate[], sender: NodeId) => IngestResult
}

/** Settings of gossip. */
export interface GossipInit {
  readonly topic: string
  /** What is written within this time goes out in one message, ms. */
  readonly tickMs: number
}

/** Spreads what this node writes. It loses messages now and then: anti-entropy is what makes the document complete. */
export class Gossip implements Startable {
  readonly #components: GossipComponents
  readonly #init: GossipInit
  #outgoing: PageUpdate[] = []
  #timer: Timer | undefined
  #lastFlush = -Infinity
  #unsubscribe: Unsubscribe | undefined

  constructor(components: GossipComponents, init: GossipInit) {
    this.#components = components
    this.#init = init
  }

  start(): void {
    this.#unsubscribe = this.#components.network.subscribe(this.#init.topic, (message) => this.#receive(message))
  }

  stop(): void {
    this.#unsubscribe?.()
    this.#timer?.cancel()
    this.#timer = undefined
    this.#outgoing = []
  }

  /** Sends updates: at once when it was quiet, else with the next tick. */
  announce(updates: readonly PageUpdate[]): void {
    this.#outgoing.push(...updates)
    if (this.#timer !== undefined) return
    const { clock } = this.#components.environment
    const waitMs = Math.max(0, this.#lastFlush + this.#init.tickMs - clock.monotonic())
    this.#timer = clock.setTimer(waitMs, () => this.#flush())
  }

  #flush(): void {
    this.#timer = undefined
    this.#lastFlush = this.#components.environment.clock.monotonic()
    const updates = this.#outgoing
    this.#outgoing = []
    for (const group of packed(updates, ({ page, update }) => page.length + update.byteLength + 16, maxPackedBytes)) {
      this.#publish(encodeUpdates(group)).catch((error: unknown) => {
        this.#components.logger.debug(`gossip not sent, anti-entropy will carry it: ${messageOf(error)}`)
      })
    }
  }

  async #publish(data: Uint8Array): Promise<void> {
    await this.#components.network.publish(this.#init.topic, data)
  }

  #receive({ sender, data }: GossipMessage): GossipVerdict {
    try {
      const { refusals, declined } = this.#components.ingest(decodeUpdates(data), sender)
      if (refusals.length > 0) return 'reject'
      return declined.length > 0 ? 'ignore' : 'accept'
    } catch (error) {
      this.#components.logger.debug(`refused gossip from ${sender}: ${messageOf(error)}`)
      return 'reject'
    }
  }
}
