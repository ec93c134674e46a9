/**
 * Small signed messages that nobody keeps: how far a transfer is, and that somebody wants to know.
 *
 * Goals: a progress bar never writes the document; a fleet where nobody watches sends nothing.
 * Non-goals: delivery. A lost pulse is made up for by the next.
 *
 * ```
 * pulse = DAG-CBOR [writer, sequence, body, signature]
 * body  = DAG-CBOR {type: "interest"} | {type: "progress", subject, haveBytes, totalBytes}
 * ```
 */
import { z } from 'zod'
import { decode, encode } from '../core/codec.js'
import { every, type Environment, type Timer } from '../core/environment.js'
import { messageOf } from '../core/errors.js'
import { parseNodeId, type NodeId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import type { Logger } from '../core/logger.js'
import type { KeyPair } from '../identity/keypair.js'
import { sign, SignatureVerifier } from '../identity/signature.js'
import type { GossipVerdict, Network, Unsubscribe } from '../net/network.js'

const maxPulseBytes = 1024
const count = z.int().nonnegative()
const bodySchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('interest') }),
  z.object({ type: z.literal('progress'), subject: z.string().max(200), haveBytes: count, totalBytes: count })
])
const pulseSchema = z.tuple([z.string().max(64), count, z.instanceof(Uint8Array), z.instanceof(Uint8Array)])

type PulseBody = z.infer<typeof bodySchema>

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
  readonly environment: Environment
  readonly logger: Logger
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

/** Sends and hears pulses. */
export class Pulses implements Startable {
  readonly #components: PulsesComponents
  readonly #init: PulsesInit
  readonly #verifier = new SignatureVerifier()
  readonly #sequences = new Map<NodeId, number>()
  readonly #heard = new Map<NodeId, Heard>()
  readonly #watchers = new Set<{ readonly listener: (progress: ObservedProgress) => void }>()
  #interestUntil = -Infinity
  #lastSent = -Infinity
  #sequence: number
  #interestTimer: Timer | undefined
  #linkTimer: Timer | undefined
  #stops: Unsubscribe[] = []

  constructor(components: PulsesComponents, init: PulsesInit) {
    this.#components = components
    this.#init = init
    // A restarted node goes on above its last sequence without keeping it: it sends far fewer than one a millisecond.
    this.#sequence = Math.max(0, Math.floor(components.environment.clock.now()))
  }

  start(): void {
    const { network } = this.#components
    this.#stops = [
      network.subscribe(this.#init.topic, ({ data }) => this.#receive(data)),
      network.onPeer(({ type }) => type === 'connected' && this.#greet())
    ]
    if (this.#watchers.size > 0) this.#startInterest()
  }

  stop(): void {
    for (const stop of this.#stops.splice(0)) stop()
    this.#interestTimer?.cancel()
    this.#linkTimer?.cancel()
    this.#linkTimer = undefined
    this.#interestUntil = -Infinity
    this.#heard.clear()
    this.#sequences.clear()
  }

  /** Asks all nodes for their progress and hands out what they say, until unsubscribed. */
  watch(listener: (progress: ObservedProgress) => void): Unsubscribe {
    const watcher = { listener }
    this.#watchers.add(watcher)
    if (this.#watchers.size === 1 && this.#stops.length > 0) this.#startInterest()
    return () => {
      if (this.#watchers.delete(watcher) && this.#watchers.size === 0) this.#interestTimer?.cancel()
    }
  }

  /** What was heard of transfers that are not over, by node. */
  progress(): ReadonlyMap<NodeId, ObservedProgress> {
    this.#forgetOld()
    return new Map(Array.from(this.#heard, ([nodeId, { progress }]) => [nodeId, progress]))
  }

  /** Tells how far this node is, if anybody else wants to know and it is time. The end is told at once, and once. */
  report(progress: Progress): void {
    const now = this.#components.environment.clock.monotonic()
    const isEnd = progress.haveBytes >= progress.totalBytes && this.#heard.has(this.#components.network.nodeId)
    this.#hear(this.#components.network.nodeId, progress)
    if (now > this.#interestUntil || (!isEnd && now - this.#lastSent < this.#periodMs())) return
    this.#lastSent = now
    this.#send({ type: 'progress', ...progress })
  }

  #periodMs(): number {
    this.#forgetOld()
    const { progressPeriodMs, progressTtlMs } = this.#init
    const sharedMs = (this.#heard.size / pulsesPerSecond) * 1000
    return Math.max(progressPeriodMs, Math.min(sharedMs, progressTtlMs / pulsesPerTtl))
  }

  #startInterest(): void {
    this.#express()
    this.#interestTimer = every(this.#components.environment, this.#init.interestMs / 3, () => this.#express())
  }

  #express(): void {
    this.#send({ type: 'interest' })
  }

  /** Whoever links up now has not heard what others are interested in. */
  #greet(): void {
    this.#linkTimer ??= this.#components.environment.clock.setTimer(linkDelayMs, () => {
      this.#linkTimer = undefined
      if (this.#watchers.size > 0) this.#express()
    })
  }

  #send(body: PulseBody): void {
    const { network, keyPair, logger } = this.#components
    this.#sequence += 1
    const bytes = encode(body)
    const signature = sign(keyPair, 'murmurate/pulse/1', signedBytes(network.nodeId, this.#sequence, bytes))
    const pulse = encode([network.nodeId, this.#sequence, bytes, signature])
    network
      .publish(this.#init.topic, pulse)
      .catch((error: unknown) => logger.debug(`pulse not sent: ${messageOf(error)}`))
  }

  #receive(data: Uint8Array): GossipVerdict {
    try {
      const [writerText, sequence, bytes, signature] = decode(data, pulseSchema, {
        maxBytes: maxPulseBytes,
        what: 'A pulse'
      })
      const writer = parseNodeId(writerText)
      if (writer === this.#components.network.nodeId || sequence <= (this.#sequences.get(writer) ?? -1)) return 'ignore'
      const signed = signedBytes(writer, sequence, bytes)
      if (!this.#verifier.verify(writer, 'murmurate/pulse/1', signed, signature)) return 'reject'
      this.#remember(this.#sequences, writer, sequence)
      this.#take(writer, decode(bytes, bodySchema, { maxBytes: maxPulseBytes, what: 'A pulse' }))
      return 'accept'
    } catch (error) {
      this.#components.logger.debug(`refused a pulse: ${messageOf(error)}`)
      return 'reject'
    }
  }

  #take(writer: NodeId, body: PulseBody): void {
    const now = this.#components.environment.clock.monotonic()
    if (body.type === 'interest') this.#interestUntil = Math.max(this.#interestUntil, now + this.#init.interestMs)
    else this.#hear(writer, body)
  }

  #hear(nodeId: NodeId, { subject, haveBytes, totalBytes }: Progress): void {
    const at = this.#components.environment.clock.monotonic()
    const before = this.#heard.get(nodeId)
    const bytesPerSecond = before?.progress.subject === subject ? smoothedRate(before, haveBytes, at) : undefined
    const progress = { nodeId, subject, haveBytes, totalBytes, bytesPerSecond }
    if (haveBytes < totalBytes) this.#remember(this.#heard, nodeId, { progress, at })
    else this.#heard.delete(nodeId)
    for (const { listener } of this.#watchers) this.#tell(listener, progress)
  }

  /** What a listener throws is its own fault, not that of the peer that sent the pulse. */
  #tell(listener: (progress: ObservedProgress) => void, progress: ObservedProgress): void {
    try {
      listener(progress)
    } catch (error) {
      this.#components.logger.error(`a listener of progress failed: ${messageOf(error)}`)
    }
  }

  /** Sets a writer's value; of too many writers, those that were silent longest are forgotten. */
  #remember<Value>(values: Map<NodeId, Value>, writer: NodeId, value: Value): void {
    values.delete(writer)
    const isFull = values.size >= (this.#init.maxWriters ?? defaultMaxWriters)
    const oldest = isFull ? values.keys().next().value : undefined
    if (oldest !== undefined) values.delete(oldest)
    values.set(writer, value)
  }

  #forgetOld(): void {
    const oldest = this.#components.environment.clock.monotonic() - this.#init.progressTtlMs
    for (const [nodeId, { at }] of this.#heard) if (at < oldest) this.#heard.delete(nodeId)
  }
}

function signedBytes(writer: NodeId, sequence: number, body: Uint8Array): Uint8Array {
  return encode([writer, sequence, body])
}

function smoothedRate({ progress, at }: Heard, haveBytes: number, now: number): number | undefined {
  if (now <= at) return progress.bytesPerSecond
  const rate = Math.max(0, ((haveBytes - progress.haveBytes) * 1000) / (now - at))
  return progress.bytesPerSecond === undefined ? rate : rateWeight * rate + (1 - rateWeight) * progress.bytesPerSecond
}
