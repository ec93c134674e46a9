import { raceSignal, withDeadline, type AbortOptions } from '../core/abort.js'
import { sleep, type Clock } from '../core/environment.js'
import { messageOf } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import { rootHash, type FleetId, type SignedRoot } from '../identity/fleet-root.js'
import { chooseChain } from '../identity/root-chain.js'
import type { Network } from '../net/network.js'
import { initiateRootExchange, maxRootMessageBytes, rootProtocol } from '../record/root-exchange.js'

/** What a session is made of. */
export interface RootSessionComponents {
  /** Of an identity of its own, started: the node's own may be in use by the node that runs. */
  readonly network: Network
  readonly clock: Clock
  readonly logger: Logger
  readonly fleetId: FleetId
}

/** A peer on a LAN answers an mDNS question and a handshake in less than half of this, ms. */
const searchMs = 4000
/** After the first peer the other addresses get this long, ms. */
const othersMs = 1000
/** One exchange with one peer, ms. */
const exchangeMs = 15_000
/** A peer puts a root in force within milliseconds of taking it: so often is it asked, this far apart, ms. */
const confirmations = 20
const confirmPauseMs = 100

/** Speaks of roots with whatever nodes of the mesh can be reached, for a program that is no node of it. */
export class RootSession {
  readonly #components: RootSessionComponents

  constructor(components: RootSessionComponents) {
    this.#components = components
  }

  /**
   * Dials the addresses and, where discovery is on, waits for peers that it finds. Resolves to those linked, maybe none.
   *
   * @throws MurmurateError `ABORTED`
   */
  async reach(
    addresses: readonly string[],
    { signal, discovery }: AbortOptions & { readonly discovery: boolean }
  ): Promise<readonly NodeId[]> {
    const { network, clock } = this.#components
    const found = Promise.withResolvers<void>()
    const stopListening = network.onPeer(({ type }) => {
      if (type === 'connected') found.resolve()
    })
    try {
      const dials = Promise.allSettled(addresses.map((address) => network.dial(address, { signal })))
      await earliest(clock, searchMs, [discovery ? found.promise : dials], signal)
      // Who answers first need not be the one that runs here: the others get as long as one more handshake.
      await earliest(clock, othersMs, [dials], signal)
      return network.peers()
    } finally {
      stopListening()
    }
  }

  /** The chain that counts among this one and those of the peers reached. */
  async gather(chain: readonly SignedRoot[], options: AbortOptions = {}): Promise<readonly SignedRoot[]> {
    const peers = this.#components.network.peers()
    const chains = await Promise.all(peers.map((peer) => this.#exchange(peer, chain, options)))
    return chains.reduce<readonly SignedRoot[]>((best, other) => chooseChain(best, other ?? []).chain, chain)
  }

  /** Gives the chain to every peer reached; resolves to those that go by it now. */
  async deliver(chain: readonly SignedRoot[], options: AbortOptions = {}): Promise<readonly NodeId[]> {
    const peers = this.#components.network.peers()
    const confirmed = await Promise.all(peers.map((peer) => this.#confirm(peer, chain, options)))
    return peers.filter((_, at) => confirmed[at] === true)
  }

  async #confirm(peer: NodeId, chain: readonly SignedRoot[], options: AbortOptions): Promise<boolean> {
    for (let asked = 0; asked < confirmations; asked++) {
      const theirs = await this.#exchange(peer, chain, options)
      if (theirs === undefined) return false
      if (theirs.length > chain.length || isSame(theirs.at(-1), chain.at(-1))) return contains(theirs, chain)
      await sleep(this.#components.clock, asked === 0 ? 0 : confirmPauseMs, options.signal)
    }
    return false
  }

  async #exchange(
    peer: NodeId,
    chain: readonly SignedRoot[],
    options: AbortOptions
  ): Promise<readonly SignedRoot[] | undefined> {
    const { network, clock, fleetId, logger } = this.#components
    const run = async (signal: AbortSignal): Promise<readonly SignedRoot[]> => {
      const channel = await network.open(peer, rootProtocol, { maxFrameBytes: maxRootMessageBytes, signal })
      try {
        return await initiateRootExchange({ clock, fleetId, chain }, channel, signal)
      } finally {
        await channel.close()
      }
    }
    try {
      return await withDeadline(clock, exchangeMs, run, options)
    } catch (error) {
      if (options.signal?.aborted === true) throw error
      logger.warn(`${peer} did not speak of roots: ${messageOf(error)}`)
      return undefined
    }
  }
}

/** Waits for one of these, but not longer than the limit. */
async function earliest(
  clock: Clock,
  limitMs: number,
  events: readonly Promise<unknown>[],
  signal: AbortSignal | undefined
): Promise<void> {
  const limit = sleep(clock, limitMs, signal)
  limit.catch(() => {})
  await raceSignal(Promise.race([...events, limit]), signal)
}

function isSame(one: SignedRoot | undefined, two: SignedRoot | undefined): boolean {
  return one !== undefined && two !== undefined && rootHash(one) === rootHash(two)
}

function contains(longer: readonly SignedRoot[], chain: readonly SignedRoot[]): boolean {
  return isSame(longer[chain.length - 1], chain.at(-1))
}
