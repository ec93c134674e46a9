/**
 * Two nodes of a fleet bring each other to the same roots.
 *
 * ```
 * initiator -> responder   versions           the hash of each root that I know, the first first
 * responder -> initiator   versions root* done   what you lack, from the first version on in which we differ
 * initiator -> responder   root* done         the same
 *
 * versions = [0, [32 bytes ...]]   root = [1, signed root]   done = [2]
 * ```
 * Goals: whoever speaks this may be a stranger, so nothing is kept that enough root keys have not signed.
 * Non-goals: choosing between two valid chains (that is the keeper's), secrecy of the roots from those with the mesh secret.
 */
import { z } from 'zod'
import { withDeadline } from '../core/abort.js'
import { decode, encode, equalBytes } from '../core/codec.js'
import type { Clock } from '../core/environment.js'
import { MurmurateError } from '../core/errors.js'
import {
  decodeSignedRoot,
  encodeSignedRoot,
  maxRootVersions,
  maxSignedRootBytes,
  rootHash,
  verifyFirst,
  verifyNext,
  type FleetId,
  type SignedRoot
} from '../identity/fleet-root.js'
import type { Channel } from '../net/network.js'

/** The protocol that a node of a fleet serves for it; the only one that strangers may use. */
export const rootProtocol = '/murmurate/root/1'
/** Largest message: a signed root and what stands around it. */
export const maxRootMessageBytes = maxSignedRootBytes + 64
/** A peer that says nothing or takes nothing for this long is given up, ms. */
const silenceMs = 10_000
const hashBytes = 32

const messageSchema: z.ZodType<RootMessage> = z.union([
  z.tuple([
    z.literal(0),
    z.array(z.instanceof(Uint8Array).refine((hash) => hash.byteLength === hashBytes)).max(maxRootVersions)
  ]),
  z.tuple([z.literal(1), z.instanceof(Uint8Array)]),
  z.tuple([z.literal(2)])
])

type RootMessage = readonly [0, readonly Uint8Array[]] | readonly [1, Uint8Array] | readonly [2]

/** What an exchange needs. */
export interface RootExchangeComponents {
  readonly clock: Clock
  readonly fleetId: FleetId
  /** The roots that this node goes by when the exchange begins. */
  readonly chain: readonly SignedRoot[]
}

/**
 * Runs an exchange that this node began. Returns the peer's chain, verified.
 *
 * @throws MurmurateError `ROOT_REFUSED` or `MALFORMED` when the peer sent what it should not
 */
export async function initiateRootExchange(
  components: RootExchangeComponents,
  channel: Channel,
  signal: AbortSignal
): Promise<readonly SignedRoot[]> {
  const exchange = new RootExchange(components, channel, signal)
  await exchange.sendVersions()
  const theirs = await exchange.receiveVersions()
  const received = await exchange.receiveRoots(theirs)
  await exchange.sendRoots(theirs)
  return received
}

/** Answers an exchange that the peer began, likewise. */
export async function answerRootExchange(
  components: RootExchangeComponents,
  channel: Channel,
  signal: AbortSignal
): Promise<readonly SignedRoot[]> {
  const exchange = new RootExchange(components, channel, signal)
  const theirs = await exchange.receiveVersions()
  await exchange.sendVersions()
  await exchange.sendRoots(theirs)
  return exchange.receiveRoots(theirs)
}

class RootExchange {
  readonly #components: RootExchangeComponents
  readonly #channel: Channel
  readonly #signal: AbortSignal
  readonly #frames: AsyncIterator<Uint8Array>
  readonly #hashes: readonly Uint8Array[]

  constructor(components: RootExchangeComponents, channel: Channel, signal: AbortSignal) {
    this.#components = components
    this.#channel = channel
    this.#signal = signal
    this.#frames = channel.frames()[Symbol.asyncIterator]()
    this.#hashes = components.chain.map((root) => Buffer.from(rootHash(root), 'base64url'))
  }

  sendVersions(): Promise<void> {
    return this.#send([0, this.#hashes])
  }

  async receiveVersions(): Promise<readonly Uint8Array[]> {
    const message = await this.#receive()
    if (message[0] !== 0) throw outOfTurn(message)
    return message[1]
  }

  async sendRoots(theirs: readonly Uint8Array[]): Promise<void> {
    for (const root of this.#components.chain.slice(this.#shared(theirs))) {
      await this.#send([1, encodeSignedRoot(root)])
    }
    await this.#send([2])
  }

  /** Each root is verified before the next is read: a stranger cannot make this node keep what was not signed. */
  async receiveRoots(theirs: readonly Uint8Array[]): Promise<readonly SignedRoot[]> {
    const { chain, fleetId } = this.#components
    const received = chain.slice(0, this.#shared(theirs))
    for (;;) {
      const message = await this.#receive()
      if (message[0] === 2) return received
      if (message[0] !== 1) throw outOfTurn(message)
      const root = decodeSignedRoot(message[1])
      const before = received.at(-1)
      if (before === undefined) verifyFirst(fleetId, root)
      else verifyNext(before, root)
      received.push(root)
    }
  }

  /** How many roots both have. */
  #shared(theirs: readonly Uint8Array[]): number {
    const at = this.#hashes.findIndex((hash, index) => !equalBytes(hash, theirs[index] ?? new Uint8Array()))
    return at < 0 ? this.#hashes.length : at
  }

  async #send(message: RootMessage): Promise<void> {
    const send = (signal: AbortSignal): Promise<void> => this.#channel.send([encode(message)], { signal })
    await withDeadline(this.#components.clock, silenceMs, send, {
      signal: this.#signal,
      what: 'Sending a root message'
    })
  }

  async #receive(): Promise<RootMessage> {
    const next = (): Promise<IteratorResult<Uint8Array>> => this.#frames.next()
    const options = { signal: this.#signal, what: 'A root message' }
    const frame = await withDeadline(this.#components.clock, silenceMs, next, options)
    if (frame.done === true) {
      throw new MurmurateError('NETWORK_ERROR', `${this.#channel.peer} ended the exchange of roots too early`)
    }
    return decode(frame.value, messageSchema, { maxBytes: maxRootMessageBytes, what: 'A root message' })
  }
}

function outOfTurn(message: RootMessage): MurmurateError {
  return new MurmurateError('MALFORMED', `A root message of type ${message[0]} came out of turn`)
}
