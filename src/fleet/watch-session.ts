import { messageOf, MurmurateError } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { PeerEvent, Unsubscribe } from '../net/network.js'
import { AwakeClock } from './awake-clock.js'
import { FailureDetector, type DetectorAction } from './failure-detector.js'
import type { OwnIncarnation } from './incarnation.js'
import type { NeighbourWatchComponents, NeighbourWatchInit } from './neighbour-watch-init.js'
import type { PresenceState } from './presence.js'
import { encodeMessage } from './presence-message.js'
import { PresenceNews } from './presence-news.js'
import { Roster } from './roster.js'
import { RosterSync } from './roster-sync.js'
import type { Topology } from './topology.js'
import { WatchChoice } from './watch-choice.js'
import { decodeFrame, encodeFrame, maxNews, type Ping, type Pong, type WatchFrame } from './watch-frame.js'
import { WatchStreams } from './watch-streams.js'

/** A stream that neither side used for this many ping periods is closed. */
const idlePeriods = 4
/** A peer that is believed to be gone and is heard all the same is told so at most this often, ms. */
const remindPauseMs = 1_000

/** What a session shares with those before and after it. */
export interface WatchSessionInit extends NeighbourWatchInit {
  readonly own: OwnIncarnation
  readonly topology: Topology
  readonly onChange: (nodes: readonly NodeId[]) => void
}

/** Everything between a start and a stop: it ties the pure parts to the network and the clock. */
export class WatchSession {
  readonly #components: NeighbourWatchComponents
  readonly #init: WatchSessionInit
  readonly #clock: AwakeClock
  readonly #roster: Roster
  readonly #sync: RosterSync
  readonly #detector: FailureDetector
  readonly #news: PresenceNews
  readonly #streams: WatchStreams
  readonly #ended = new AbortController()
  readonly #remindedAt = new Map<NodeId, number>()
  readonly #linked = new Set<NodeId>()
  readonly #choice: WatchChoice
  #stops: Unsubscribe[] = []

  constructor(components: NeighbourWatchComponents, init: WatchSessionInit) {
    const { network, keyPair, environment, logger } = components
    const { preset, topology, own, topic } = init
    const { clock } = environment
    const isLinked = (peer: NodeId): boolean => this.#linked.has(peer)
    this.#components = components
    this.#init = init
    this.#clock = new AwakeClock(
      clock,
      () => this.#run(),
      () => this.#detector.doubtSelf()
    )
    const self = network.nodeId
    this.#roster = new Roster({ ...init, self, isLinked, isLossy: () => topology.lossy })
    this.#sync = new RosterSync(this.#roster, preset.pingMs)
    const { random } = environment
    this.#choice = new WatchChoice({ self, preset, random, roster: this.#roster, linked: this.#linked })
    const helpersFor = (target: NodeId): NodeId[] => this.#choice.helpersFor(target)
    this.#detector = new FailureDetector({ self, preset, random, topology, isLinked, helpersFor })
    this.#news = new PresenceNews({
      network,
      keyPair,
      clock,
      logger,
      topic,
      roster: this.#roster,
      own,
      now: () => this.#clock.now(),
      onAccused: () => this.#detector.doubtSelf(),
      onSaid: (statement) => this.#tellNeighbours(statement)
    })
    this.#streams = new WatchStreams({
      network,
      clock,
      logger,
      onOpen: (peer) => this.#greet(peer),
      onFrame: (peer, frame) => this.#onFrame(peer, frame)
    })
  }

  /** Begins to watch and to be watched. */
  start(): void {
    const { network } = this.#components
    this.#streams.start()
    this.#stops = [
      network.subscribe(this.#init.topic, (message) => {
        const verdict = this.#news.hear(message)
        this.#run()
        return verdict
      }),
      network.onPeer((event) => this.#onPeer(event))
    ]
    for (const peer of network.peers()) this.#linked.add(peer)
    this.#roster.tell(this.#init.own.statement, this.#clock.now())
    this.#run()
  }

  /** Says goodbye, while the network still runs. */
  async leave(): Promise<void> {
    this.#init.own.leave()
    this.#news.say()
    this.#clock.cancel()
    await this.#streams.close()
  }

  /** Ends everything. */
  stop(): void {
    for (const stop of this.#stops.splice(0)) stop()
    this.#ended.abort(new MurmurateError('NOT_STARTED', 'Presence was stopped'))
    this.#clock.cancel()
    this.#news.stop()
    this.#streams.stop()
  }

  /** What is believed of a node. Whoever has a link is here, even if it knows nothing of presence. */
  stateOf(nodeId: NodeId): PresenceState {
    const state = this.#roster.stateOf(nodeId)
    return state === 'unknown' && this.#linked.has(nodeId) ? 'alive' : state
  }

  /** Which way of a link does not work. */
  impairment(peer: NodeId): 'incoming' | 'outgoing' | undefined {
    return this.#detector.impairment(peer, this.#clock.now())
  }

  get #left(): boolean {
    return this.#init.own.statement.type === 'left'
  }

  #onPeer({ type, peer }: PeerEvent): void {
    const now = this.#clock.now()
    if (type === 'connected') {
      this.#linked.add(peer)
      this.#detector.linkUp(peer)
      if (this.#isDoubted(peer)) this.#contact(peer)
    } else {
      this.#linked.delete(peer)
      this.#choice.unlinked(peer, now)
      this.#sync.forget(peer)
      this.#remindedAt.delete(peer)
      if (!this.#choice.isGone(peer) && this.#roster.stateOf(peer) !== 'unknown') this.#detector.linkLost(peer, now)
      else this.#detector.forget(peer)
    }
    this.#choice.changed(now)
    if (this.#roster.stateOf(peer) === 'unknown') this.#init.onChange([peer])
    this.#run()
  }

  /** Does what is due, carries out what follows, and sets the alarm. */
  #run(): void {
    if (this.#left || this.#ended.signal.aborted) return
    const now = this.#clock.now()
    this.#detector.tick(now)
    this.#tryStranger(now)
    this.#choose(now)
    for (const action of this.#detector.takeActions()) this.#carryOut(action)
    this.#roster.expire(now)
    this.#announce(now)
    const { nextDeadline } = this.#detector
    this.#clock.alarmAt(Math.min(nextDeadline, this.#roster.nextDeadline, this.#choice.nextDeadline))
  }

  #choose(now: number): void {
    const chosen = this.#choice.take(now)
    if (chosen === undefined) return
    this.#detector.watch(chosen, now)
    this.#detector.tick(now)
  }

  /** A link to a peer that is believed to be gone, or that never said anything, is tried from time to time. */
  #tryStranger(now: number): void {
    if (!this.#choice.isTryDue(now)) return
    this.#streams.closeIdle(idlePeriods * this.#init.preset.pingMs)
    const stranger = this.#choice.drawStranger()
    if (stranger !== undefined) this.#contact(stranger)
  }

  #contact(peer: NodeId): void {
    this.#send(peer, { type: 'ping', nonce: 0, ...this.#signFor(peer), silentMs: 0 })
  }

  #carryOut(action: DetectorAction): void {
    const { peer } = action
    switch (action.type) {
      case 'ping':
        return this.#send(peer, { ...action, ...this.#signFor(peer) })
      case 'ask':
      case 'answer':
        return this.#send(peer, action)
      case 'probe':
        return void this.#probe(peer)
      case 'accuse':
        return this.#news.accuse(peer, action.hard)
    }
  }

  async #probe(peer: NodeId): Promise<void> {
    const { network, logger } = this.#components
    try {
      const result = await network.probe(peer, this.#ended)
      this.#detector.probed(peer, result, this.#clock.now())
      this.#run()
    } catch (error) {
      logger.debug(`could not knock at ${peer}: ${messageOf(error)}`)
    }
  }

  #announce(now: number): void {
    const changed = this.#roster.takeChanged()
    if (changed.length === 0) return
    for (const nodeId of changed) {
      if (this.#choice.isGone(nodeId)) this.#detector.forget(nodeId)
      this.#choice.judged(nodeId, now)
    }
    this.#init.onChange(changed)
  }

  #onFrame(peer: NodeId, bytes: Uint8Array): void {
    const frame = decodeFrame(bytes)
    if (this.#left) return
    this.#detector.heard(peer, this.#clock.now())
    this.#handle(peer, frame, this.#clock.now())
    this.#remind(peer)
    this.#run()
  }

  #handle(peer: NodeId, frame: WatchFrame, now: number): void {
    switch (frame.type) {
      case 'ping':
        this.#detector.pinged(peer, frame.silentMs)
        this.#send(peer, { type: 'pong', nonce: frame.nonce, ...this.#signFor(peer) })
        return this.#compare(peer, frame, now)
      case 'pong':
        this.#detector.ponged(peer, frame.nonce, now)
        return this.#compare(peer, frame, now)
      case 'ask':
        return this.#detector.asked(peer, frame.id, frame.target, now)
      case 'answer':
        return this.#detector.answered(peer, frame.id, frame.silentMs, now)
      case 'news':
        if (this.#news.receive(peer, frame.messages)) this.#sync.broughtNews()
        return
      case 'summary':
        return this.#answerSummary(peer, frame.digests, now)
    }
  }

  #signFor(peer: NodeId): Pick<Ping, 'digest' | 'chosen'> {
    return { digest: this.#roster.digest, chosen: this.#choice.isChosen(peer) }
  }

  #compare(peer: NodeId, { digest, chosen }: Ping | Pong, now: number): void {
    this.#choice.chosenBy(peer, chosen, now)
    if (this.#sync.compare(peer, digest, now)) this.#send(peer, { type: 'summary', digests: this.#roster.summary })
  }

  #answerSummary(peer: NodeId, digests: Uint8Array, now: number): void {
    if (!this.#sync.mayAnswer(peer, now)) return
    const missing = this.#roster.missingIn(digests)
    if (this.#sync.begin(now)) this.#send(peer, { type: 'summary', digests: this.#roster.summary })
    this.#sendNews(peer, missing.map(encodeMessage))
  }

  #isDoubted(peer: NodeId): boolean {
    return this.#choice.isGone(peer) || this.#roster.stateOf(peer) === 'suspected'
  }

  /** Who is believed to be gone and is heard all the same gets what is held against it, to refute it. */
  #remind(peer: NodeId): void {
    const now = this.#clock.now()
    if (!this.#isDoubted(peer) || now - (this.#remindedAt.get(peer) ?? -Infinity) < remindPauseMs) return
    this.#remindedAt.set(peer, now)
    this.#sendNews(peer, this.#roster.messagesOf(peer).map(encodeMessage))
  }

  /** A stream begins with what this node says of itself, and what it holds of the other. */
  #greet(peer: NodeId): void {
    this.#sendNews(peer, [this.#init.own.statement, ...this.#roster.messagesOf(peer)].map(encodeMessage))
  }

  #tellNeighbours(statement: Uint8Array): void {
    for (const peer of this.#streams.peers) this.#sendNews(peer, [statement])
  }

  #sendNews(peer: NodeId, messages: readonly Uint8Array[]): void {
    for (let at = 0; at < messages.length; at += maxNews)
      this.#send(peer, { type: 'news', messages: messages.slice(at, at + maxNews) })
  }

  #send(peer: NodeId, frame: WatchFrame): void {
    this.#streams.send(peer, encodeFrame(frame))
  }
}
