import { withDeadline } from '../core/abort.js'
import { setMaxListeners } from 'node:events'
import { every, type Environment, type Timer } from '../core/environment.js'
import { errorCode, messageOf, MurmurateError } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import type { Logger } from '../core/logger.js'
import { TokenBuckets } from '../core/token-bucket.js'
import type { Channel, Network, Unsubscribe } from '../net/network.js'
import { answerSync, initiateSync, syncProtocol } from './anti-entropy.js'
import type { Conduct } from './conduct.js'
import type { Knowledge } from './knowledge.js'
import type { RoundResult, SyncComponents } from './side.js'
import type { IngestResult, PageStore } from './store.js'
import { maxMessageBytes, type PageUpdate } from './wire.js'

/** A node that stops waits this long at most for its last sync, ms: a round takes milliseconds, a dead peer would hold it up. */
const farewellMs = 2000

/** What synchronisation needs. */
export interface SynchroniserComponents {
  readonly network: Network
  readonly environment: Environment
  readonly logger: Logger
  readonly store: PageStore
  readonly knowledge: Knowledge
  readonly conduct: Conduct
  /** Takes what a peer sent; undefined when nothing is taken at the moment. */
  readonly ingest: (updates: readonly PageUpdate[], sender: NodeId) => Promise<IngestResult | undefined>
}

/** Settings of anti-entropy. */
export interface SynchroniserInit {
  /** Time between two rounds with a random peer, ms, jittered. */
  readonly periodMs: number
  /** A peer that says nothing or takes nothing for this long during a round is given up, ms. */
  readonly silenceMs: number
}

/** Rounds that gaps ask for are at least this far apart, ms, for each peer. */
const gapPauseMs = 1000
/** A document that is larger than one round takes as many rounds as it needs; a peer that always has more does not get more. */
const maxRoundsAtOnce = 16
/** Every so many rounds of the timer one is about what both sides hold: with 15 s between rounds, one a minute. */
const roundsToHeldOne = 4
/** Rounds of a peer that are answered: a link, a gap a second and the timer stay far below. */
const answersOfAPeer = { capacity: 32, perSecond: 1, maxKeys: 1024 }

/** Runs anti-entropy: on connect, when a gap was seen, and by timer with one random peer. At most one round a peer and direction at a time. */
export class Synchroniser implements Startable {
  readonly #components: SynchroniserComponents
  readonly #init: SynchroniserInit
  readonly #running = new Map<NodeId, Promise<void>>()
  #stops: Unsubscribe[] = []
  #abort = new AbortController()
  readonly #answering = new Map<Channel, Promise<void>>()
  readonly #gapAt = new Map<NodeId, number>()
  readonly #answers = new TokenBuckets<NodeId>(answersOfAPeer)
  #timerRounds = 0
  #started = false

  constructor(components: SynchroniserComponents, init: SynchroniserInit) {
    this.#components = components
    this.#init = init
  }

  start(): void {
    const { network, environment } = this.#components
    this.#abort = new AbortController()
    // Every round listens to it, and there may be as many as links: no leak that Node would have to print.
    setMaxListeners(0, this.#abort.signal)
    this.#started = true
    const timer: Timer = every(environment, this.#init.periodMs, () => this.#syncWithRandomPeer())
    this.#stops = [
      network.serve(syncProtocol, (channel) => this.#answer(channel), { maxFrameBytes: maxMessageBytes }),
      network.onPeer(({ type, peer }) => {
        // Both ends see the link; one round is enough, and the lower id begins it.
        if (type === 'connected' && network.nodeId < peer) void this.syncWith(peer)
        if (type === 'disconnected') this.#gapAt.delete(peer)
      }),
      () => timer.cancel()
    ]
    // Whoever linked before this node was ready to answer may have asked in vain.
    this.syncWithAll()
  }

  /** Begins a round with every linked peer. */
  syncWithAll(): void {
    for (const peer of this.#components.network.peers()) void this.syncWith(peer)
  }

  async stop(): Promise<void> {
    this.#started = false
    for (const stop of this.#stops.splice(0)) stop()
    this.#abort.abort()
    await Promise.allSettled([...this.#running.values(), ...this.#answering.values()])
    this.#gapAt.clear()
  }

  /** Makes the document equal to a peer's; a round that fails is made up for by a later one. */
  syncWith(peer: NodeId, isAboutHeld = false): Promise<void> {
    const running = this.#running.get(peer)
    if (running !== undefined) return running
    if (!this.#started) return Promise.resolve()
    const round = this.#initiate(peer, isAboutHeld)
      .catch((error: unknown) => this.#components.logger.debug(`sync with ${peer} failed: ${messageOf(error)}`))
      .finally(() => this.#running.delete(peer))
    this.#running.set(peer, round)
    return round
  }

  /**
   * Brings one peer up to date before this node leaves: gossip may still wait, and a peer that has what was written last
   * passes it on. Gives up after `farewellMs`.
   */
  async farewell(): Promise<void> {
    const { network, environment, logger } = this.#components
    const [peer] = network.peers()
    if (peer === undefined) return
    const round = async (): Promise<void> => {
      // A round under way may be past the pages that were written since.
      await this.#running.get(peer)
      await this.syncWith(peer)
    }
    await withDeadline(environment.clock, farewellMs, round).catch((error: unknown) =>
      logger.debug(`left without a last sync with ${peer}: ${messageOf(error)}`)
    )
  }

  /** The same, but a peer that sends gap after gap does not get round after round. */
  syncAfterGap(peer: NodeId): void {
    const now = this.#components.environment.clock.monotonic()
    if (now - (this.#gapAt.get(peer) ?? -Infinity) < gapPauseMs) return
    this.#gapAt.set(peer, now)
    void this.syncWith(peer)
  }

  /** Waits for nothing: a peer that draws its round out must not keep the others from theirs. */
  #syncWithRandomPeer(): void {
    const { network, environment } = this.#components
    const peers = network.peers()
    const peer = peers[Math.floor(environment.random.float() * peers.length)]
    if (peer !== undefined) void this.syncWith(peer, ++this.#timerRounds % roundsToHeldOne === 0)
  }

  async #initiate(peer: NodeId, isAboutHeld: boolean): Promise<void> {
    for (let rounds = 0; rounds < maxRoundsAtOnce; rounds++) {
      const { more, moved } = await this.#blaming(peer, () => this.#initiateOne(peer, isAboutHeld))
      if (!more || moved === 0) return
    }
  }

  async #initiateOne(peer: NodeId, isAboutHeld: boolean): Promise<RoundResult> {
    const { signal } = this.#abort
    const channel = await this.#components.network.open(peer, syncProtocol, { signal, maxFrameBytes: maxMessageBytes })
    try {
      const result = await initiateSync({ ...this.#roundWith(peer), isAboutHeld }, channel, signal)
      await channel.close()
      return result
    } catch (error) {
      channel.abort(error instanceof Error ? error : new Error(messageOf(error)))
      throw error
    }
  }

  /** What is malformed in a round is the peer's fault; everything else can happen to anybody. */
  async #blaming<T>(peer: NodeId, round: () => Promise<T>): Promise<T> {
    try {
      return await round()
    } catch (error) {
      if (errorCode(error) === 'MALFORMED') this.#components.conduct.fault(peer, 'malformed', messageOf(error))
      throw error
    }
  }

  /** A peer begins a round when its last one is over: what is left of that one must not add up in memory. */
  async #answer(channel: Channel): Promise<void> {
    this.#assertMayAsk(channel.peer)
    for (const older of this.#answering.keys()) {
      if (older.peer === channel.peer) older.abort(new MurmurateError('ABORTED', 'The peer began another round'))
    }
    const round = this.#blaming(channel.peer, () => this.#answerRound(channel))
    this.#answering.set(channel, round)
    try {
      await round
    } finally {
      this.#answering.delete(channel)
    }
  }

  async #answerRound(channel: Channel): Promise<void> {
    await answerSync(this.#roundWith(channel.peer), channel, this.#abort.signal)
    await channel.close()
  }

  #assertMayAsk(peer: NodeId): void {
    const { conduct, environment } = this.#components
    if (this.#answers.take(peer, 1, environment.clock.monotonic())) return
    conduct.fault(peer, 'flood', 'it began round after round')
    throw new MurmurateError('NETWORK_ERROR', `${peer} begins more rounds than are answered`)
  }

  #roundWith(peer: NodeId): SyncComponents {
    const { environment, store, knowledge, ingest } = this.#components
    return {
      clock: environment.clock,
      random: environment.random,
      store,
      knowledge,
      silenceMs: this.#init.silenceMs,
      ingest: (updates) => ingest(updates, peer)
    }
  }
}
