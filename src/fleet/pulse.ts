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
/** The mesh carries at most about this many progress pulses a second. */
const pulsesPerSecond = 2

/** Sends and hears pulses. */
export class Pulses implements Startable {
  readonly #components: PulsesComponents
  readonly #init: PulsesInit
  readonly #verifier = new SignatureVerifier()
  readonly #sequences = new Map<NodeId, number>()
  readonly #heard = new Map<NodeId, Heard>()
  readonly #listeners = new Set<(progress: ObservedProgress) => void>()
  #interestUntil = -Infinity
  #lastSent = -Infinity
  #sequence: number
  #watchers = 0
  #interestTimer: Timer | undefined
  #unsubscribe: Unsubscribe | undefined

  constructor(components: PulsesComponents, init: PulsesInit) {
    this.#components = components
    this.#init = init
    // A restarted node goes on above its last sequence without keeping it: it sends far fewer than one a millisecond.
    this.#sequence = components.environment.clock.now()
  }

  start(): void {
    this.#unsubscribe = this.#components.network.subscribe(this.#init.topic, ({ data }) => this.#receive(data))
  }

  stop(): void {
    this.#unsubscribe?.()
    this.#interestTimer?.cancel()
    this.#heard.clear()
    this.#sequences.clear()
  }

  /** Asks all nodes for their progress and hands out what they say, until unsubscribed. */
  watch(listener: (progress: ObservedProgress) => void): Unsubscribe {
    this.#listeners.add(listener)
    this.#watchers += 1
    if (this.#watchers === 1) this.#startInterest()
    return () => {
      if (!this.#listeners.delete(listener)) return
      this.#watchers -= 1
      if (this.#watchers === 0) this.#interestTimer?.cancel()
    }
  }

  /** What was heard of transfers that are not over, by node. */
  progress(): ReadonlyMap<NodeId, ObservedProgress> {
    this.#forgetOld()
    return new Map(Array.from(this.#heard, ([nodeId, { progress }]) => [nodeId, progress]))
  }

  /** Tells how far this node is, if anybody wants to know and it is time. */
  report(progress: Progress): void {
    const now = this.#components.environment.clock.monotonic()
    this.#hear(this.#components.network.nodeId, progress)
    const periodMs = Math.max(this.#init.progressPeriodMs, (this.#heard.size / pulsesPerSecond) * 1000)
    const isLast = progress.haveBytes >= progress.totalBytes
    if (now > this.#interestUntil || (!isLast && now - this.#lastSent < periodMs)) return
    this.#lastSent = now
    this.#send({ type: 'progress', ...progress })
  }

  #startInterest(): void {
    const express = (): void => this.#send({ type: 'interest' })
    express()
    this.#interestUntil = Infinity
    this.#interestTimer = every(this.#components.environment, this.#init.interestMs / 3, express)
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
      if (sequence <= (this.#sequences.get(writer) ?? -1)) return 'ignore'
      const signed = signedBytes(writer, sequence, bytes)
      if (!this.#verifier.verify(writer, 'murmurate/pulse/1', signed, signature)) return 'reject'
      this.#sequences.set(writer, sequence)
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
    this.#heard.set(nodeId, { progress, at })
    if (haveBytes >= totalBytes) this.#heard.delete(nodeId)
    for (const listener of this.#listeners) listener(progress)
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
