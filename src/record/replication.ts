import type { Environment } from '../core/environment.js'
import type { NodeId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import type { Logger } from '../core/logger.js'
import type { Network } from '../net/network.js'
import { Conduct, type PeerConduct } from './conduct.js'
import { DeclinedBook } from './declined.js'
import { Gossip } from './gossip.js'
import { Intake } from './intake.js'
import { Knowledge } from './knowledge.js'
import type { IngestResult, PageStore } from './store.js'
import { Synchroniser } from './sync.js'
import type { PageUpdate } from './wire.js'

/** What replication is built from. */
export interface ReplicationComponents {
  readonly network: Network
  readonly environment: Environment
  readonly logger: Logger
  readonly store: PageStore
  /** Admits what a peer sent, keeps it and tells of it; undefined when nothing is taken at the moment. */
  readonly ingest: (updates: readonly PageUpdate[]) => IngestResult | undefined
  /** The same for many entries, on all cores. */
  readonly ingestBatch: (updates: readonly PageUpdate[]) => Promise<IngestResult | undefined>
}

/** Settings of replication. */
export interface ReplicationInit {
  /** Gossip topic of the mesh. */
  readonly topic: string
  /** What is written within this time is gossiped together, ms. */
  readonly gossipTickMs: number
  /** Time between two anti-entropy rounds, ms. */
  readonly syncPeriodMs: number
  /** A peer that says nothing for this long during a round is given up, ms. */
  readonly syncSilenceMs: number
}

/** Makes the document the same on all nodes: gossip, anti-entropy, and the book of what peers did on the way. */
export class Replication implements Startable {
  readonly #components: ReplicationComponents
  readonly #declined = new DeclinedBook()
  readonly #conduct: Conduct
  readonly #gossip: Gossip
  readonly #synchroniser: Synchroniser

  constructor(components: ReplicationComponents, init: ReplicationInit) {
    const { network, environment, logger, store } = components
    this.#components = components
    this.#conduct = new Conduct({ network, clock: environment.clock, logger })
    const shared = { store, conduct: this.#conduct }
    const intake = new Intake({
      ...shared,
      clock: environment.clock,
      declined: this.#declined,
      ingest: (updates, sender) => this.#ingestFrom(updates, sender)
    })
    this.#gossip = new Gossip(
      { network, environment, logger, receive: (message) => intake.receive(message) },
      { topic: init.topic, tickMs: init.gossipTickMs }
    )
    this.#synchroniser = new Synchroniser(
      {
        ...shared,
        network,
        environment,
        logger,
        knowledge: new Knowledge(store, this.#declined),
        ingest: (updates, sender) => this.#ingestBatchFrom(updates, sender)
      },
      { periodMs: init.syncPeriodMs, silenceMs: init.syncSilenceMs }
    )
  }

  start(): void {
    this.#conduct.start()
    this.#gossip.start()
    this.#synchroniser.start()
  }

  async stop(): Promise<void> {
    await this.#synchroniser.stop()
    this.#gossip.stop()
    this.#conduct.stop()
  }

  /** Gossips what this node wrote. */
  announce(updates: readonly PageUpdate[]): void {
    this.#gossip.announce(updates)
  }

  /** Brings one peer up to date before this node leaves. */
  farewell(): Promise<void> {
    return this.#synchroniser.farewell()
  }

  /** Other things are permitted now: what was declined is asked for again. */
  askAgain(): void {
    this.#declined.clear()
    this.#synchroniser.syncWithAll()
  }

  /** What each peer did wrong here, of the peers that did: at most 1024. */
  conduct(): PeerConduct[] {
    return this.#conduct.report()
  }

  #ingestFrom(updates: readonly PageUpdate[], sender: NodeId): IngestResult | undefined {
    return this.#conduct.isHeld(sender) ? undefined : this.#attributed(this.#components.ingest(updates), sender)
  }

  async #ingestBatchFrom(updates: readonly PageUpdate[], sender: NodeId): Promise<IngestResult | undefined> {
    if (this.#conduct.isHeld(sender)) return undefined
    return this.#attributed(await this.#components.ingestBatch(updates), sender)
  }

  #attributed(result: IngestResult | undefined, sender: NodeId): IngestResult | undefined {
    if (result === undefined) return undefined
    const { refusals, declined, gap } = result
    const [reason] = refusals
    if (reason !== undefined) this.#conduct.fault(sender, 'refused', reason, refusals.length)
    this.#conduct.remark(sender, 'declined', declined.length)
    this.#declined.add(declined)
    if (gap) this.#synchroniser.syncAfterGap(sender)
    return result
  }
}
