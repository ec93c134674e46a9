import type { Clock, Timer } from '../core/environment.js'
import { messageOf } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import type { KeyPair } from '../identity/keypair.js'
import { SignatureVerifier } from '../identity/signature.js'
import type { GossipMessage, GossipVerdict, Network } from '../net/network.js'
import type { OwnIncarnation } from './incarnation.js'
import {
  decodeMessage,
  encodeMessage,
  makeAccusation,
  type PresenceMessage,
  type Statement
} from './presence-message.js'
import type { Roster } from './roster.js'

/**
 * This node contradicts at most this often, ms: whoever accuses it again and again makes the mesh carry no more than that.
 * Suspicion lasts longer.
 */
const refutePauseMs = 500

/** What the news of presence need. */
export interface PresenceNewsInit {
  readonly network: Network
  readonly keyPair: KeyPair
  readonly clock: Clock
  readonly logger: Logger
  readonly topic: string
  readonly roster: Roster
  readonly own: OwnIncarnation
  /** Milliseconds awake. */
  readonly now: () => number
  /** This node was accused, and is alive. */
  readonly onAccused: () => void
  /** This node has said something new of itself: the neighbours shall have it even if gossip loses it. */
  readonly onSaid: (statement: Uint8Array) => void
}

/** Brings messages of presence to the roster and the mesh, and answers for this node. */
export class PresenceNews {
  readonly #init: PresenceNewsInit
  readonly #verifier = new SignatureVerifier()
  #quietUntil = -Infinity
  #refutation: Timer | undefined

  constructor(init: PresenceNewsInit) {
    this.#init = init
  }

  /** Ends what is under way. */
  stop(): void {
    this.#refutation?.cancel()
    this.#refutation = undefined
  }

  /** A gossip message came. */
  hear({ data }: GossipMessage): GossipVerdict {
    try {
      return this.#take(decodeMessage(data, this.#verifier), false) ? 'accept' : 'ignore'
    } catch (error) {
      this.#init.logger.debug(`refused a message of presence: ${messageOf(error)}`)
      return 'reject'
    }
  }

  /**
   * A neighbour sent messages. What it says of itself, and what makes a node suspect that counted as alive, is gossiped on: the
   * gossip of it may have been lost, and the suspect must get to know.
   *
   * @returns whether any was news
   * @throws MurmurateError `MALFORMED`
   */
  receive(peer: NodeId, messages: readonly Uint8Array[]): boolean {
    const { roster } = this.#init
    let news = false
    for (const bytes of messages) {
      const message = decodeMessage(bytes, this.#verifier)
      const about = statementIn(message).nodeId
      const wasAlive = roster.stateOf(about) === 'alive'
      const isNews = this.#take(message, about === peer)
      news ||= isNews
      const isOwnWord = message.type !== 'accusation' && about === peer
      if (isNews && (isOwnWord || (message.type === 'accusation' && wasAlive))) this.#publish(bytes)
    }
    return news
  }

  /** Tells the mesh what this node says of itself at present. */
  say(): void {
    const { own, roster, now } = this.#init
    roster.tell(own.statement, now())
    const bytes = encodeMessage(own.statement)
    this.#publish(bytes)
    this.#init.onSaid(bytes)
  }

  /** Accuses a node before the mesh, once for each of its statements. */
  accuse(nodeId: NodeId, hard: boolean): void {
    const { roster, keyPair, now } = this.#init
    const statement = roster.statementOf(nodeId)
    if (statement === undefined || !roster.mayAccuse(nodeId)) return
    const accusation = makeAccusation(keyPair, statement, hard)
    roster.accuse(accusation, now())
    this.#publish(encodeMessage(accusation))
  }

  #take(message: PresenceMessage, direct: boolean): boolean {
    const { own, roster, now } = this.#init
    const statement = statementIn(message)
    if (statement.nodeId === own.statement.nodeId) {
      this.#answerFor(message, statement)
      return false
    }
    return message.type === 'accusation' ? roster.accuse(message, now()) : roster.tell(message, now(), direct)
  }

  /** Something that is held of this node: it goes above what is from another life, and contradicts accusations. */
  #answerFor(message: PresenceMessage, statement: Statement): void {
    const { own, onAccused } = this.#init
    if (own.statement.type === 'left') return
    if (own.isOvertakenBy(statement)) {
      own.overtake(statement)
      this.#soon(() => this.say())
    } else if (
      message.type === 'accusation' &&
      statement.seq === own.statement.seq &&
      statement.epoch === own.statement.epoch
    ) {
      onAccused()
      this.#soon(() => {
        own.refute()
        this.say()
      })
    }
  }

  /** Runs it at once, or when the pause since the last time is over; one at a time. */
  #soon(action: () => void): void {
    if (this.#refutation !== undefined) return
    const { clock } = this.#init
    const run = (): void => {
      this.#refutation = undefined
      this.#quietUntil = clock.monotonic() + refutePauseMs
      action()
    }
    const waitMs = this.#quietUntil - clock.monotonic()
    if (waitMs <= 0) run()
    else this.#refutation = clock.setTimer(waitMs, run)
  }

  #publish(bytes: Uint8Array): void {
    const { network, topic, logger } = this.#init
    network
      .publish(topic, bytes)
      .catch((error: unknown) => logger.debug(`message of presence not sent: ${messageOf(error)}`))
  }
}

/** The words of the node that a message is about. */
function statementIn(message: PresenceMessage): Statement {
  return message.type === 'accusation' ? message.statement : message
}
