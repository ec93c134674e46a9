/**
 * Small signed messages that nobody keeps.
 *
 * Goals: nobody speaks for another; what was recorded cannot be played again; clocks decide nothing, so a node that starts in
 * the past is heard like any other.
 * Non-goals: delivery. A lost pulse is made up for by the next.
 *
 * ```
 * pulse = DAG-CBOR [writer, epoch, counter, body, signature]
 * body  = DAG-CBOR {type: "interest", topic} | {type: "progress", subject, haveBytes, totalBytes}
 *       | {type: "load", ? cpuPercent, memoryMb, ? eventLoopMs, transfers}
 * ```
 *
 * `epoch` is that of the writer's description in the shared document, which the writer writes anew before its first pulse of a
 * run: so it is above those of all runs before, kept by the mesh, and put right after a restored disk, as the record does it.
 * `counter` rises within the run.
 */
import { z } from 'zod'
import { decode, encode } from '../core/codec.js'
import { messageOf } from '../core/errors.js'
import { parseNodeId, type NodeId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import type { Logger } from '../core/logger.js'
import { RecentMap } from '../core/recent-map.js'
import { openAuthority, type Authority } from '../identity/authority.js'
import type { KeyPair } from '../identity/keypair.js'
import { sign, SignatureVerifier } from '../identity/signature.js'
import type { GossipVerdict, Network, Unsubscribe } from '../net/network.js'
import { loadSchema } from './load.js'

/** What can be watched. */
export type PulseTopic = 'progress' | 'load'

const maxPulseBytes = 1024
const count = z.int().nonnegative()
const bytes = z.instanceof(Uint8Array)
const bodySchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('interest'), topic: z.enum(['progress', 'load']) }),
  z.object({ type: z.literal('progress'), subject: z.string().max(200), haveBytes: count, totalBytes: count }),
  loadSchema.extend({ type: z.literal('load') })
])
const pulseSchema = z.tuple([z.string().max(64), count, count, bytes, bytes])

/** What a pulse says. */
export type PulseBody = z.infer<typeof bodySchema>

/** What is known of the runs of nodes; `Membership` knows it. */
export interface Runs {
  /** The epoch of this run, once the mesh can know it; undefined when the node is stopped or cannot write. */
  announce(): Promise<number | undefined>
  /** The epoch of the last run of a node that is known here. */
  epochOf(nodeId: NodeId): number | undefined
}

/** What the channel is built from. */
export interface PulseChannelComponents {
  readonly network: Network
  readonly keyPair: KeyPair
  readonly runs: Runs
  /** Whose pulses count. @default everybody's */
  readonly authority?: Authority
  readonly logger: Logger
}

/** Settings of the channel. */
export interface PulseChannelInit {
  readonly topic: string
  /** How many writers to remember: whoever makes up keys cannot fill the memory. */
  readonly maxWriters: number
}

/** Where a pulse stands among those of its writer. */
interface Place {
  readonly epoch: number
  readonly counter: number
}

/** Sends pulses of this node, and hands out those of others that are genuine and new. */
export class PulseChannel implements Startable {
  readonly #components: PulseChannelComponents
  readonly #topic: string
  readonly #onPulse: (writer: NodeId, body: PulseBody) => void
  readonly #verifier = new SignatureVerifier()
  readonly #last: RecentMap<NodeId, Place>
  #counter = 0
  #unsubscribe: Unsubscribe | undefined

  constructor(
    components: PulseChannelComponents,
    init: PulseChannelInit,
    onPulse: (writer: NodeId, body: PulseBody) => void
  ) {
    this.#components = components
    this.#topic = init.topic
    this.#onPulse = onPulse
    this.#last = new RecentMap(init.maxWriters)
  }

  start(): void {
    this.#unsubscribe ??= this.#components.network.subscribe(this.#topic, ({ data }) => this.#receive(data))
  }

  stop(): void {
    this.#unsubscribe?.()
    this.#unsubscribe = undefined
    this.#last.clear()
  }

  /** Whether pulses are heard and sent. */
  get running(): boolean {
    return this.#unsubscribe !== undefined
  }

  /** Sends a pulse, if that is possible; nobody waits for it. */
  send(body: PulseBody): void {
    this.#send(body).catch((error: unknown) => this.#components.logger.debug(`pulse not sent: ${messageOf(error)}`))
  }

  async #send(body: PulseBody): Promise<void> {
    const { network, keyPair, runs } = this.#components
    const epoch = await runs.announce()
    if (epoch === undefined || !this.running) return
    this.#counter += 1
    const content = encode(body)
    const place = { epoch, counter: this.#counter }
    const signature = sign(keyPair, 'murmurate/pulse/1', signedBytes(network.nodeId, place, content))
    await network.publish(this.#topic, encode([network.nodeId, epoch, this.#counter, content, signature]))
  }

  #receive(data: Uint8Array): GossipVerdict {
    try {
      const options = { maxBytes: maxPulseBytes, what: 'A pulse' }
      const [writerText, epoch, counter, content, signature] = decode(data, pulseSchema, options)
      const writer = parseNodeId(writerText)
      const place = { epoch, counter }
      if (!this.#isMember(writer) || !this.#isNew(writer, place)) return 'ignore'
      const signed = signedBytes(writer, place, content)
      if (!this.#verifier.verify(writer, 'murmurate/pulse/1', signed, signature)) return 'reject'
      this.#last.set(writer, place)
      this.#onPulse(writer, decode(content, bodySchema, options))
      return 'accept'
    } catch (error) {
      this.#components.logger.debug(`refused a pulse: ${messageOf(error)}`)
      return 'reject'
    }
  }

  #isMember(writer: NodeId): boolean {
    return (this.#components.authority ?? openAuthority).isMember(writer)
  }

  /** Whether a pulse is of the writer's last run that is known here or of a later one, and later than what was heard of that. */
  #isNew(writer: NodeId, { epoch, counter }: Place): boolean {
    const { network, runs } = this.#components
    if (writer === network.nodeId || epoch < (runs.epochOf(writer) ?? 0)) return false
    const last = this.#last.get(writer)
    if (last === undefined || epoch > last.epoch) return true
    return epoch === last.epoch && counter > last.counter
  }
}

function signedBytes(writer: NodeId, { epoch, counter }: Place, body: Uint8Array): Uint8Array {
  return encode([writer, epoch, counter, body])
}
