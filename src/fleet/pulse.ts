import type { Environment, Timer } from '../core/environment.js'
import type { NodeId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import type { Logger } from '../core/logger.js'
import { RecentMap } from '../core/recent-map.js'
import type { KeyPair } from '../identity/keypair.js'
import type { Network, Unsubscribe } from '../net/network.js'
import { Interest, type InterestInit } from './interest.js'
import { Loads, type Load, type ObservedLoad } from './load.js'
import type { Authority } from '../identity/authority.js'
import type { Membership } from './membership.js'
import { PulseChannel, type PulseBody, type PulseTopic } from './pulse-channel.js'

/** How far a node is with something. */
export interface Progress {
  /** What is moved: `<model>@<version>`. */
  readonly subject: string
  readonly haveBytes: number
  readonly totalBytes: number
}

/** Progress as it was heard. */
export interface ObservedProgress extends Progress {
  readonly nodeId: NodeId
  /** Smoothed rate; undefined until there were two pulses. */
  readonly bytesPerSecond: number | undefined
}

/** Settings of pulses. */
export interface PulsesInit {
  readonly topic: string
  /** An interest lasts this long after the last pulse that expressed it, ms. */
  readonly interestMs: number
  /** Progress that was not renewed for this long is forgotten, ms. */
  readonly progressTtlMs: number
  /** A node sends progress at most this often, ms; more senders stretch it. */
  readonly progressPeriodMs: number
  /** How many writers to remember: whoever makes up keys cannot fill the memory. @default 10000 */
  readonly maxWriters?: number
}

/** What pulses are built from. */
export interface PulsesComponents {
  readonly network: Network
  readonly keyPair: KeyPair
  readonly membership: Pick<Membership, 'announce' | 'epochOf' | 'members'>
  /** Whose pulses count. @default everybody's */
  readonly authority?: Authority
  readonly environment: Environment
  readonly logger: Logger
  /** How busy this node is at this moment. */
  readonly readLoad: () => Load
}

interface Heard {
  readonly progress: ObservedProgress
  readonly at: number
}

/** Weight of the newest rate in the moving average; 0.3 follows a change within about five pulses. */
const rateWeight = 0.3
/** With many senders each sends less often, so that the mesh carries about this many progress pulses a second... */
const pulsesPerSecond = 2
/** ...but never so seldom that fewer than this many fall into the time after which progress is forgotten. */
const pulsesPerTtl = 3
/** A new peer is told of an interest after this time, ms: by then it has said which topics it wants; several links share one. */
const linkDelayMs = 250
/** As many nodes as one mesh is designed for. */
const defaultMaxWriters = 10_000

/** How far transfers are and how busy nodes are, told while somebody watches: a fleet where nobody does sends nothing. */
export class Pulses implements Startable {
  readonly #components: PulsesComponents
  readonly #init: PulsesInit
  readonly #channel: PulseChannel
  readonly #heard: RecentMap<NodeId, Heard>
  readonly #progress: Interest<ObservedProgress>
  readonly #load: Interest<ObservedLoad>
  readonly #loads: Loads
  #lastSent = -Infinity
  #linkTimer: Timer | undefined
  #stopPeers: Unsubscribe | undefined

  constructor(components: PulsesComponents, init: PulsesInit) {
    const { network, environment, logger, membership, readLoad } = components
    const { maxWriters = defaultMaxWriters, topic } = init
    this.#components = components
    this.#init = init
    this.#channel = new PulseChannel({ ...components, runs: membership }, { topic, maxWriters }, (writer, body) =>
      this.#take(writer, body)
    )
    this.#heard = new RecentMap(maxWriters)
    const interest = (what: PulseTopic): InterestInit => {
      const express = (): void => this.#channel.send({ type: 'interest', topic: what })
      return { what, environment, logger, interestMs: init.interestMs, express }
    }
    this.#progress = new Interest(interest('progress'))
    this.#load = new Interest(interest('load'))
    this.#loads = new Loads({
      self: network.nodeId,
      environment,
      interest: this.#load,
      maxWriters,
      read: readLoad,
      send: (load) => this.#channel.send({ type: 'load', ...load }),
      memberCount: () => membership.members().length
    })
  }

  start(): void {
    this.#channel.start()
    this.#stopPeers ??= this.#components.network.onPeer(({ type }) => type === 'connected' && this.#greet())
    this.#progress.start()
    this.#load.start()
    if (this.#load.isWatched) this.#loads.wake()
  }

  stop(): void {
    this.#stopPeers?.()
    this.#stopPeers = undefined
    this.#linkTimer?.cancel()
    this.#linkTimer = undefined
    this.#progress.stop()
    this.#load.stop()
    this.#loads.stop()
    this.#channel.stop()
    this.#heard.clear()
  }

  /** Asks all nodes for their progress and hands out what they say, until unsubscribed. */
  watch(listener: (progress: ObservedProgress) => void): Unsubscribe {
    return this.#progress.watch(listener)
  }

  /** What was heard of transfers that are not over, by node. */
  progress(): ReadonlyMap<NodeId, ObservedProgress> {
    this.#forgetOld()
    return new Map(Array.from(this.#heard, ([nodeId, { progress }]) => [nodeId, progress]))
  }

  /** What was heard of a node's transfer that is not over. */
  progressOf(nodeId: NodeId): ObservedProgress | undefined {
    const heard = this.#heard.get(nodeId)
    return heard === undefined || heard.at < this.#oldestKept() ? undefined : heard.progress
  }

  /** Asks all nodes how busy they are and hands out what they say, this node's own too, until unsubscribed. */
  watchLoad(listener: (load: ObservedLoad) => void): Unsubscribe {
    const unsubscribe = this.#load.watch(listener)
    if (this.#channel.running) this.#loads.wake()
    return unsubscribe
  }

  /** How busy nodes are, as far as was heard while somebody on this node watches. */
  loads(): ReadonlyMap<NodeId, ObservedLoad> {
    return this.#loads.present()
  }

  /** Tells how far this node is, if anybody else wants to know and it is time. The end is told at once, and once. */
  report(progress: Progress): void {
    const now = this.#components.environment.clock.monotonic()
    const { nodeId } = this.#components.network
    const isEnd = progress.haveBytes >= progress.totalBytes && this.#heard.has(nodeId)
    this.#hear(nodeId, progress)
    if (!this.#progress.isWanted || (!isEnd && now - this.#lastSent < this.#periodMs())) return
    this.#lastSent = now
    this.#channel.send({ type: 'progress', ...progress })
  }

  #periodMs(): number {
    this.#forgetOld()
    const { progressPeriodMs, progressTtlMs } = this.#init
    const sharedMs = (this.#heard.size / pulsesPerSecond) * 1000
    return Math.max(progressPeriodMs, Math.min(sharedMs, progressTtlMs / pulsesPerTtl))
  }

  /** Whoever links up now has not heard what others are interested in. */
  #greet(): void {
    this.#linkTimer ??= this.#components.environment.clock.setTimer(linkDelayMs, () => {
      this.#linkTimer = undefined
      this.#progress.express()
      this.#load.express()
    })
  }

  #take(writer: NodeId, body: PulseBody): void {
    if (body.type === 'progress') return this.#hear(writer, body)
    if (body.type === 'load') return this.#loads.hear(writer, body)
    if (body.topic === 'progress') return this.#progress.heard()
    this.#load.heard()
    this.#loads.wake()
  }

  #hear(nodeId: NodeId, { subject, haveBytes, totalBytes }: Progress): void {
    const at = this.#components.environment.clock.monotonic()
    const before = this.#heard.get(nodeId)
    const bytesPerSecond = before?.progress.subject === subject ? smoothedRate(before, haveBytes, at) : undefined
    const progress = { nodeId, subject, haveBytes, totalBytes, bytesPerSecond }
    if (haveBytes < totalBytes) this.#heard.set(nodeId, { progress, at })
    else this.#heard.delete(nodeId)
    this.#progress.tell(progress)
  }

  #forgetOld(): void {
    const oldest = this.#oldestKept()
    for (const [nodeId, { at }] of this.#heard) if (at < oldest) this.#heard.delete(nodeId)
  }

  #oldestKept(): number {
    return this.#components.environment.clock.monotonic() - this.#init.progressTtlMs
  }
}

function smoothedRate({ progress, at }: Heard, haveBytes: number, now: number): number | undefined {
  if (now <= at) return progress.bytesPerSecond
  const rate = Math.max(0, ((haveBytes - progress.haveBytes) * 1000) / (now - at))
  return progress.bytesPerSecond === undefined ? rate : rateWeight * rate + (1 - rateWeight) * progress.bytesPerSecond
}
