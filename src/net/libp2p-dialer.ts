import type { Connection, Libp2p } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import { abortedError, withDeadline, type AbortOptions } from '../core/abort.js'
import type { Clock } from '../core/environment.js'
import { MurmurateError, messageOf } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import { parseDialAddress, type DialAddress } from './address.js'
import type { Libp2pKnobs } from './libp2p-defaults.js'
import { nodeIdOf, type Links } from './links.js'

/** What dialling needs. */
export interface DialerInit {
  readonly clock: Clock
  readonly knobs: Libp2pKnobs
  readonly links: Links
}

/** Makes connections, and finds the one that stands when a second one was refused. */
export class Libp2pDialer {
  readonly #init: DialerInit
  /** Who answered at an address that we hung up on because there was a link already. */
  readonly #refusedAt = new Map<string, NodeId>()
  #libp2p: Libp2p | undefined

  constructor(init: DialerInit) {
    this.#init = init
  }

  /** The node has started. */
  attach(libp2p: Libp2p): void {
    this.#libp2p = libp2p
  }

  /** The node is about to stop. */
  detach(): void {
    this.#libp2p = undefined
    this.#refusedAt.clear()
  }

  /** Who answered at an address that was then refused because there is a link already. */
  refused(address: Multiaddr, peer: NodeId): void {
    if (this.#refusedAt.size >= this.#init.knobs.maxKnownPeers) this.#refusedAt.clear()
    this.#refusedAt.set(address.toString(), peer)
  }

  /**
   * Connects to one peer at any of its addresses, or finds that there is a link already.
   *
   * @throws MurmurateError `NETWORK_ERROR` when nobody of this mesh answers in time, `NOT_STARTED`, `ABORTED`
   */
  async connect(addresses: readonly DialAddress[], options: AbortOptions = {}): Promise<NodeId> {
    const { clock, knobs, links } = this.#init
    const libp2p = this.#libp2p
    const expected = addresses[0]?.peer
    if (libp2p === undefined) throw new MurmurateError('NOT_STARTED', 'The network is not running')
    if (expected !== undefined && links.has(expected)) return expected
    const targets = addresses.map(({ multiaddr }) => multiaddr)
    try {
      const dial = (signal: AbortSignal): Promise<Connection> => libp2p.dial(targets, { signal })
      return connectedPeer(await withDeadline(clock, knobs.dialTimeoutMs, dial, options))
    } catch (cause) {
      if (expected !== undefined) links.dialFailed(expected)
      if (options.signal?.aborted === true) throw abortedError(options.signal)
      const rival = await this.#rivalLink(targets, expected, options)
      if (rival !== undefined) return rival
      throw dialError(targets, cause)
    }
  }

  /** The same with addresses in their text form. */
  async connectTo(addresses: readonly string[]): Promise<NodeId> {
    return this.connect(addresses.map(parseDialAddress))
  }

  /** The peer that a failed dial was for, when another connection to it stands or, from its own dial, is about to. */
  async #rivalLink(
    addresses: readonly Multiaddr[],
    expected: NodeId | undefined,
    options: AbortOptions
  ): Promise<NodeId | undefined> {
    const { clock, knobs, links } = this.#init
    const refusing = addresses.map((address) => this.#refusedAt.get(address.toString()))
    const peer = expected ?? refusing.find((found) => found !== undefined)
    if (peer === undefined || links.has(peer)) return peer
    const linked = Promise.withResolvers<NodeId>()
    const stopListening = links.onPeer((event) => {
      if (event.type === 'connected' && event.peer === peer) linked.resolve(peer)
    })
    try {
      return await withDeadline(clock, knobs.rivalDialMs, () => linked.promise, options)
    } catch {
      return undefined
    } finally {
      stopListening()
    }
  }
}

function connectedPeer(connection: Connection): NodeId {
  const peer = nodeIdOf(connection.remotePeer)
  if (peer !== undefined) return peer
  throw new MurmurateError('NETWORK_ERROR', `${connection.remotePeer.toString()} is not a node of murmurate`)
}

/** libp2p says only that all dials failed when there were several. */
function reasonOf(cause: unknown): string {
  return cause instanceof AggregateError ? cause.errors.map(messageOf).join('; ') : messageOf(cause)
}

function dialError(addresses: readonly Multiaddr[], cause: unknown): MurmurateError {
  const shown = addresses.map((address) => address.toString())
  return new MurmurateError(
    'NETWORK_ERROR',
    `No peer of this mesh answers at ${shown.join(' or ')}: ${reasonOf(cause)}`,
    {
      cause,
      details: { addresses: shown }
    }
  )
}
