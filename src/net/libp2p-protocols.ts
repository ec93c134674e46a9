import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { abortedError, withDeadline } from '../core/abort.js'
import type { Clock } from '../core/environment.js'
import { MurmurateError, messageOf } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import { Libp2pChannel } from './libp2p-channel.js'
import type { Libp2pKnobs } from './libp2p-defaults.js'
import { nodeIdOf } from './links.js'
import { notAllowed, type Channel, type OpenOptions, type ServeOptions, type Unsubscribe } from './network.js'

/** What serves the channels of a protocol. */
export type ChannelHandler = (channel: Channel) => Promise<void>

/** What protocols need. */
export interface ProtocolsInit {
  readonly clock: Clock
  readonly logger: Logger
  readonly knobs: Libp2pKnobs
  /** Whether the guard lets a peer use a protocol. */
  readonly mayUse: (peer: NodeId, protocol: string) => boolean
}

interface Served {
  readonly handler: ChannelHandler
  readonly options: ServeOptions
}

/** Whose channel it is, and for what. */
interface Opened {
  readonly peer: NodeId
  readonly protocol: string
}

/** The protocols that this node serves, kept over restarts of libp2p, and all open channels. */
export class Libp2pProtocols {
  readonly #init: ProtocolsInit
  readonly #served = new Map<string, Served>()
  readonly #channels = new Map<Libp2pChannel, string>()
  #libp2p: Libp2p | undefined

  constructor(init: ProtocolsInit) {
    this.#init = init
  }

  /** Serves all protocols on a node that is about to start. */
  attach(libp2p: Libp2p): void {
    this.#libp2p = libp2p
    for (const protocol of this.#served.keys()) this.#handle(libp2p, protocol)
  }

  /** The node is about to stop: all channels break. */
  detach(): void {
    this.#libp2p = undefined
    this.breakChannels()
  }

  /** Breaks the channels to one peer or to all, on both ends, so that no reader takes a cut for the end of the data. */
  breakChannels(peer?: NodeId): void {
    for (const channel of this.#channels.keys()) {
      if (peer !== undefined && channel.peer !== peer) continue
      channel.abort(new MurmurateError('NETWORK_ERROR', `The link to ${channel.peer} was closed`))
    }
  }

  /** Breaks the channels that the guard does not allow any more. */
  recheck(): void {
    for (const [channel, protocol] of this.#channels) {
      if (!this.#init.mayUse(channel.peer, protocol)) channel.abort(notAllowed(channel.peer, protocol))
    }
  }

  serve(protocol: string, handler: ChannelHandler, options: ServeOptions): Unsubscribe {
    if (this.#served.has(protocol)) throw new MurmurateError('INVALID_REQUEST', `${protocol} is served already`)
    const served = { handler, options }
    this.#served.set(protocol, served)
    if (this.#libp2p !== undefined) this.#handle(this.#libp2p, protocol)
    return () => {
      if (this.#served.get(protocol) !== served) return
      this.#served.delete(protocol)
      this.#quietly(this.#libp2p?.unhandle(protocol))
    }
  }

  /** Opens a channel over a connection. */
  async open(connection: Connection, peer: NodeId, protocol: string, options: OpenOptions): Promise<Channel> {
    const { clock, knobs } = this.#init
    if (!this.#init.mayUse(peer, protocol)) throw notAllowed(peer, protocol)
    try {
      const stream = await withDeadline(
        clock,
        knobs.negotiationTimeoutMs,
        (signal) => newStream(connection, protocol, signal, knobs.maxStreamsPerProtocol),
        options
      )
      return this.#track(stream, { peer, protocol }, options)
    } catch (cause) {
      if (options.signal?.aborted === true) throw abortedError(options.signal)
      throw new MurmurateError('NETWORK_ERROR', `${peer} did not open ${protocol}: ${messageOf(cause)}`, {
        cause,
        details: { peer, protocol }
      })
    }
  }

  #handle(libp2p: Libp2p, protocol: string): void {
    const { maxStreamsPerProtocol } = this.#init.knobs
    const accept = (stream: Stream, connection: Connection): void => this.#accept(protocol, stream, connection)
    this.#quietly(
      libp2p.handle(protocol, accept, {
        maxInboundStreams: maxStreamsPerProtocol,
        maxOutboundStreams: maxStreamsPerProtocol
      })
    )
  }

  /** libp2p's own book of protocols is in memory and does not fail while it runs. */
  #quietly(registration: Promise<void> | undefined): void {
    registration?.catch((error: unknown) =>
      this.#init.logger.debug(`registering a protocol failed: ${messageOf(error)}`)
    )
  }

  #accept(protocol: string, stream: Stream, connection: Connection): void {
    const served = this.#served.get(protocol)
    const peer = nodeIdOf(connection.remotePeer)
    if (served === undefined || peer === undefined || !this.#init.mayUse(peer, protocol)) {
      stream.abort(new Error(`${protocol} is not served`))
    } else void this.#run(protocol, served.handler, this.#track(stream, { peer, protocol }, served.options))
  }

  async #run(protocol: string, handler: ChannelHandler, channel: Libp2pChannel): Promise<void> {
    try {
      await handler(channel)
      await channel.release()
    } catch (error) {
      this.#init.logger.debug(`${protocol} with ${channel.peer} failed: ${messageOf(error)}`)
      channel.abort(error instanceof Error ? error : new Error(messageOf(error)))
    }
  }

  #track(stream: Stream, { peer, protocol }: Opened, options: ServeOptions): Libp2pChannel {
    const { clock, knobs } = this.#init
    const channel = new Libp2pChannel({ stream, peer, maxFrameBytes: options.maxFrameBytes, clock, knobs })
    this.#channels.set(channel, protocol)
    void channel.closed.then(() => this.#channels.delete(channel))
    return channel
  }
}

/** A stream that is negotiated after we gave up on it is freed. */
async function newStream(
  connection: Connection,
  protocol: string,
  signal: AbortSignal,
  limit: number
): Promise<Stream> {
  const stream = await connection.newStream([protocol], { signal, maxOutboundStreams: limit })
  if (signal.aborted) stream.abort(abortedError(signal))
  return stream
}
