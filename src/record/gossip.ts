import type { Environment, Timer } from '../core/environment.js'
import { messageOf } from '../core/errors.js'
import type { PageId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import type { Logger } from '../core/logger.js'
import type { GossipMessage, GossipVerdict, Network, Unsubscribe } from '../net/network.js'
import { encodeUpdates, packed, type PageUpdate } from './wire.js'
import { parseUpdate, writeUpdate } from './yjs-update.js'

/** What gossip needs of the document. */
export interface GossipComponents {
  readonly network: Network
  readonly environment: Environment
  readonly logger: Logger
  /** Takes what comes in, and says whether it travels on. */
  readonly receive: (message: GossipMessage) => GossipVerdict
}

/** Settings of gossip. */
export interface GossipInit {
  readonly topic: string
  /** What is written within this time goes out in one message, ms. */
  readonly tickMs: number
}

/** In a storm of writes the time between two messages grows up to this, ms. */
const longestTickMs = 2000
/** By this each message that others already wait behind puts off the next: so a write waits a quarter of the storm's age. */
const stretch = 1.25

/**
 * Spreads what this node writes: at once when it was quiet, less and less often in a storm, and of each page only the latest.
 * Gossip loses messages now and then: anti-entropy is what makes the document complete.
 */
export class Gossip implements Startable {
  readonly #components: GossipComponents
  readonly #init: GossipInit
  /** This node's entries that wait. */
  readonly #outgoing = new Map<PageId, PageUpdate>()
  #timer: Timer | undefined
  #lastFlush = -Infinity
  #tickMs: number
  #unsubscribe: Unsubscribe | undefined

  constructor(components: GossipComponents, init: GossipInit) {
    this.#components = components
    this.#init = init
    this.#tickMs = init.tickMs
  }

  start(): void {
    const { network, receive } = this.#components
    this.#unsubscribe = network.subscribe(this.#init.topic, receive)
  }

  stop(): void {
    this.#unsubscribe?.()
    this.#timer?.cancel()
    this.#timer = undefined
    this.#outgoing.clear()
  }

  /** Sends this node's entries, one chain an update, soon. */
  announce(updates: readonly PageUpdate[]): void {
    for (const next of updates) {
      const waiting = this.#outgoing.get(next.page)
      this.#outgoing.set(next.page, waiting === undefined ? next : merged(waiting, next))
    }
    if (this.#timer !== undefined) return
    const { clock } = this.#components.environment
    const waitMs = Math.max(0, this.#lastFlush + this.#tickMs - clock.monotonic())
    this.#tickMs = waitMs === 0 ? this.#init.tickMs : Math.min(longestTickMs, this.#tickMs * stretch)
    this.#timer = clock.setTimer(waitMs, () => this.#flush())
  }

  #flush(): void {
    this.#timer = undefined
    this.#lastFlush = this.#components.environment.clock.monotonic()
    const updates = [...this.#outgoing.values()]
    this.#outgoing.clear()
    for (const group of packed(updates, ({ page, update }) => page.length + update.byteLength + 16)) {
      this.#publish(encodeUpdates(group)).catch((error: unknown) => {
        this.#components.logger.debug(`gossip not sent, anti-entropy will carry it: ${messageOf(error)}`)
      })
    }
  }

  async #publish(data: Uint8Array): Promise<void> {
    await this.#components.network.publish(this.#init.topic, data)
  }
}

/** The later value alone, from where the earlier one begins: who has not met the writer needs the key of its first value. */
function merged(earlier: PageUpdate, later: PageUpdate): PageUpdate {
  const [first] = parseUpdate(earlier.update)
  const [last] = parseUpdate(later.update)
  if (first === undefined || last === undefined) return later
  return { page: later.page, update: writeUpdate([{ ...last, start: first.start, key: first.key }]) }
}
