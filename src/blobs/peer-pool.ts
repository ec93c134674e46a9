import { withDeadline } from '../core/abort.js'
import type { Environment } from '../core/environment.js'
import { MurmurateError, messageOf } from '../core/errors.js'
import { shortId, type NodeId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import type { Channel, Network } from '../net/network.js'
import { exchangeProtocol, maxExchangeFrameBytes } from './exchange.js'
import { PeerSession } from './peer-session.js'
import type { TransferListener } from './transfer-meter.js'

/** Parts that asking peers needs. */
export interface PeerPoolComponents {
  readonly network: Network
  readonly environment: Environment
  readonly logger: Logger
  /** Hears how fast peers answer. */
  readonly onTransfer?: TransferListener | undefined
}

/** Knobs of asking peers. */
export interface PeerPoolInit {
  /** Nothing came for this long although something was asked: the peer is late. */
  readonly requestTimeoutMs: number
  /** A peer whose channel broke or could not be opened is left alone for this long. */
  readonly retryMs: number
  /** A peer that sent wrong bytes is left alone for this long; at the second time until this node is started again. */
  readonly coolOffMs: number
}

interface Standing {
  strikes: number
  /** Monotonic time, ms, before which it is not asked. */
  notBefore: number
}

/** Wrong bytes from a peer that are forgiven, after a pause; a failing disk or memory can do that once. */
const forgivenStrikes = 1

/** The sessions with the peers that are asked for bytes, and what is held against them. */
export class PeerPool {
  readonly #components: PeerPoolComponents
  readonly #init: PeerPoolInit
  readonly #sessions = new Map<NodeId, Promise<PeerSession | undefined>>()
  readonly #open = new Set<PeerSession>()
  readonly #standings = new Map<NodeId, Standing>()
  readonly #abort = new AbortController()

  constructor(components: PeerPoolComponents, init: PeerPoolInit) {
    this.#components = components
    this.#init = init
  }

  /** Bytes asked of all peers and not answered. */
  get owedBytes(): number {
    let bytes = 0
    for (const session of this.#open) bytes += session.owedBytes
    return bytes
  }

  /** The connected peers that may be asked now. */
  candidates(): readonly NodeId[] {
    const now = this.#components.environment.clock.monotonic()
    return this.#components.network.peers().filter((peer) => (this.#standings.get(peer)?.notBefore ?? 0) <= now)
  }

  /** The session with a peer, opened when there is none; undefined when it cannot be opened. Never rejects. */
  session(peer: NodeId): Promise<PeerSession | undefined> {
    const session = this.#sessions.get(peer) ?? Promise.resolve().then(() => this.#connect(peer))
    this.#sessions.set(peer, session)
    return session
  }

  /** Looks for peers that are late. */
  check(now: number): void {
    for (const session of this.#open) session.check(now)
  }

  /** Hangs up on all. The pool cannot be used again. */
  async stop(): Promise<void> {
    const reason = new MurmurateError('ABORTED', 'The node is stopping')
    this.#abort.abort(reason)
    await Promise.all(this.#sessions.values())
    const sessions = [...this.#open]
    for (const session of sessions) session.close(reason)
    await Promise.all(sessions.map((session) => session.ended))
  }

  async #connect(peer: NodeId): Promise<PeerSession | undefined> {
    const { network, environment, onTransfer } = this.#components
    try {
      const { requestTimeoutMs } = this.#init
      const open = (signal: AbortSignal): Promise<Channel> =>
        network.open(peer, exchangeProtocol, { maxFrameBytes: maxExchangeFrameBytes, signal })
      const channel = await withDeadline(environment.clock, requestTimeoutMs, open, {
        signal: this.#abort.signal,
        what: 'Opening a channel'
      })
      const session = new PeerSession({
        channel,
        clock: environment.clock,
        requestTimeoutMs,
        onTransfer,
        onClosed: (closed, reason, isViolation) => this.#closed(closed, reason, isViolation)
      })
      this.#open.add(session)
      return session
    } catch (error) {
      this.#components.logger.debug(`no channel to ${shortId(peer)}: ${messageOf(error)}`)
      this.#defer(peer, this.#init.retryMs)
      this.#sessions.delete(peer)
      return undefined
    }
  }

  #closed(session: PeerSession, reason: unknown, isViolation: boolean): void {
    const { peer } = session
    this.#open.delete(session)
    this.#sessions.delete(peer)
    if (this.#abort.signal.aborted) return
    if (!isViolation) return this.#defer(peer, this.#init.retryMs)
    const strikes = this.#standing(peer).strikes++
    this.#components.logger.warn(`refused a peer: ${messageOf(reason)}`, { peer, strikes: strikes + 1 })
    this.#defer(peer, strikes < forgivenStrikes ? this.#init.coolOffMs : Number.POSITIVE_INFINITY)
  }

  #defer(peer: NodeId, forMs: number): void {
    const standing = this.#standing(peer)
    standing.notBefore = Math.max(standing.notBefore, this.#components.environment.clock.monotonic() + forMs)
  }

  #standing(peer: NodeId): Standing {
    const standing = this.#standings.get(peer) ?? { strikes: 0, notBefore: 0 }
    this.#standings.set(peer, standing)
    return standing
  }
}
