import type { GossipSub } from '@chainsafe/libp2p-gossipsub'
import type { Clock } from '../core/environment.js'
import { MurmurateError, messageOf } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import type { Libp2pKnobs } from './libp2p-defaults.js'
import { nodeIdOf } from './links.js'
import { restrictSending } from './gossip-restriction.js'
import { maxGossipBytes, type GossipMessage, type GossipVerdict, type Unsubscribe } from './network.js'

/** What hears the messages of a topic. */
export type GossipHandler = (message: GossipMessage) => GossipVerdict

/** What gossip needs. */
export interface GossipInit {
  readonly clock: Clock
  readonly logger: Logger
  readonly knobs: Libp2pKnobs
  /** Put before each topic, so that topics of other meshes never meet ours. */
  readonly topicPrefix: string
  /** Whether the guard lets a peer hear and be heard on a topic. */
  readonly mayUse: (peer: NodeId, topic: string) => boolean
}

interface Blame {
  rejects: number
  readonly atMs: number
}

/** Topics and their handlers, kept over restarts of libp2p, and who sent what we had to reject. */
export class Libp2pGossip {
  readonly #init: GossipInit
  readonly #handlers = new Map<string, GossipHandler>()
  readonly #blame = new Map<string, Blame>()
  #pubsub: GossipSub | undefined

  constructor(init: GossipInit) {
    this.#init = init
  }

  /** Subscribes a started node to all topics. */
  attach(pubsub: GossipSub): void {
    this.#pubsub = pubsub
    restrictSending(pubsub, (peer, topic) => this.#mayHear(peer, topic))
    for (const topic of this.#handlers.keys()) this.#join(pubsub, topic)
  }

  /** The node is about to stop. */
  detach(): void {
    this.#pubsub = undefined
    this.#blame.clear()
  }

  async publish(topic: string, data: Uint8Array): Promise<number> {
    assertGossipFits(data)
    if (this.#pubsub === undefined) throw new MurmurateError('NOT_STARTED', 'The network is not running')
    const { recipients } = await this.#pubsub.publish(this.#fullName(topic), data)
    return recipients.length
  }

  subscribe(topic: string, handler: GossipHandler): Unsubscribe {
    if (this.#handlers.has(topic))
      throw new MurmurateError('INVALID_REQUEST', `The topic ${topic} has a handler already`)
    this.#handlers.set(topic, handler)
    if (this.#pubsub !== undefined) this.#join(this.#pubsub, topic)
    return () => {
      if (this.#handlers.get(topic) !== handler) return
      this.#handlers.delete(topic)
      this.#pubsub?.unsubscribe(this.#fullName(topic))
      this.#pubsub?.topicValidators.delete(this.#fullName(topic))
    }
  }

  /** 0, or minus the rejected messages of this peer beyond those that are tolerated. */
  scoreOf(peer: string): number {
    return Math.min(0, this.#init.knobs.toleratedRejects - this.#rejectsOf(peer))
  }

  /** Rejected messages that came from this peer, fading by half every `blameHalfLifeMs`. */
  #rejectsOf(peer: string): number {
    const blame = this.#blame.get(peer)
    if (blame === undefined) return 0
    const ageMs = this.#init.clock.monotonic() - blame.atMs
    const rejects = blame.rejects * 2 ** (-ageMs / this.#init.knobs.blameHalfLifeMs)
    if (rejects < 0.5) this.#blame.delete(peer)
    return rejects
  }

  #fullName(topic: string): string {
    return `${this.#init.topicPrefix}/${topic}`
  }

  /**
   * The validator runs once for each new message, before it travels on, and its verdict decides that: so it is the handler.
   * Nobody listens to gossipsub's message event.
   */
  #join(pubsub: GossipSub, topic: string): void {
    const name = this.#fullName(topic)
    pubsub.topicValidators.set(name, (peer, message) => {
      const sender = nodeIdOf(peer)
      const verdict = sender === undefined ? 'reject' : this.#judge(topic, { sender, data: message.data })
      if (verdict === 'reject') this.#hold(peer.toString())
      // The three words are the same; gossipsub's enum would have to be imported with all of gossipsub.
      return verdict as Awaited<ReturnType<Parameters<typeof pubsub.topicValidators.set>[1]>>
    })
    pubsub.subscribe(name)
  }

  #judge(topic: string, message: GossipMessage): GossipVerdict {
    if (!this.#init.mayUse(message.sender, topic)) return 'ignore'
    if (message.data.byteLength > maxGossipBytes) return 'reject'
    try {
      return this.#handlers.get(topic)?.(message) ?? 'ignore'
    } catch (error) {
      this.#init.logger.error(`the handler of topic ${topic} failed: ${messageOf(error)}`)
      return 'ignore'
    }
  }

  #mayHear(peer: string, fullTopic: string): boolean {
    // The keys of gossipsub's table of streams are the ids of their peers, which were proved.
    return this.#init.mayUse(peer as NodeId, fullTopic.slice(this.#init.topicPrefix.length + 1))
  }

  #hold(peer: string): void {
    const rejects = 1 + this.#rejectsOf(peer)
    this.#blame.delete(peer)
    if (this.#blame.size >= this.#init.knobs.maxKnownPeers) this.#forgetOldestBlame()
    this.#blame.set(peer, { rejects, atMs: this.#init.clock.monotonic() })
    this.#init.logger.debug(`rejected a message that ${peer} passed on`, { rejects })
  }

  #forgetOldestBlame(): void {
    const oldest = this.#blame.keys().next().value
    if (oldest !== undefined) this.#blame.delete(oldest)
  }
}

/** @throws MurmurateError `INVALID_REQUEST` */
function assertGossipFits(data: Uint8Array): void {
  if (data.byteLength <= maxGossipBytes) return
  throw new MurmurateError(
    'INVALID_REQUEST',
    `A gossip message of ${data.byteLength} bytes, the limit is ${maxGossipBytes}`
  )
}
