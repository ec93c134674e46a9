import type { Clock } from '../core/environment.js'
import { messageOf } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import type { Logger } from '../core/logger.js'
import type { Channel, Network, Unsubscribe } from '../net/network.js'
import { maxWatchFrameBytes } from './watch-frame.js'

const protocol = '/murmurate/watch/1'
const options = { maxFrameBytes: maxWatchFrameBytes }
/** Frames that wait for a stream to open; the oldest go. */
const maxWaiting = 16

/** What watch streams need. */
export interface WatchStreamsInit {
  readonly network: Network
  readonly clock: Clock
  readonly logger: Logger
  /** A stream is up, and nothing was sent on it. */
  readonly onOpen: (peer: NodeId) => void
  /** A frame came in. What is thrown ends the stream. */
  readonly onFrame: (peer: NodeId, frame: Uint8Array) => void
}

interface Stream {
  readonly channel: Channel
  readonly isOurs: boolean
  /** Both sides have closed. */
  readonly ended: PromiseWithResolvers<void>
  usedAtMs: number
}

/** One stream to each neighbour that there is something to say to, opened when it is first needed. */
export class WatchStreams implements Startable {
  readonly #init: WatchStreamsInit
  readonly #streams = new Map<NodeId, Stream[]>()
  readonly #waiting = new Map<NodeId, Uint8Array[]>()
  #stopServing: Unsubscribe | undefined

  constructor(init: WatchStreamsInit) {
    this.#init = init
  }

  start(): void {
    this.#stopServing ??= this.#init.network.serve(protocol, (channel) => this.#run(channel, false), options)
  }

  stop(): void {
    this.#stopServing?.()
    this.#stopServing = undefined
    for (const { channel } of this.#all()) channel.abort(new Error('Presence was stopped'))
    this.#streams.clear()
    this.#waiting.clear()
  }

  /** Peers to which a stream is up. */
  get peers(): NodeId[] {
    return [...this.#streams.keys()]
  }

  /** Sends a frame, over a new stream if there is none. It may get lost. */
  send(peer: NodeId, frame: Uint8Array): void {
    const stream = this.#streams.get(peer)?.[0]
    if (stream === undefined) return this.#sendLater(peer, frame)
    stream.usedAtMs = this.#init.clock.monotonic()
    this.#swallow(peer, stream.channel.send([frame]))
  }

  /** Ends all streams; resolves when the peers have read what was sent, and closed their side for it. */
  async close(): Promise<void> {
    const close = async ({ channel, ended }: Stream): Promise<void> => {
      await channel.close()
      await ended.promise
    }
    await Promise.all(this.#all().map(close))
  }

  /** Ends the streams of our making that were not used for so long; either side may be the one that still uses it. */
  closeIdle(idleMs: number): void {
    const before = this.#init.clock.monotonic() - idleMs
    for (const [peer, streams] of this.#streams) {
      for (const { isOurs, usedAtMs, channel } of streams)
        if (isOurs && usedAtMs < before) this.#swallow(peer, channel.close())
    }
  }

  #all(): Stream[] {
    return [...this.#streams.values()].flat()
  }

  #sendLater(peer: NodeId, frame: Uint8Array): void {
    const waiting = this.#waiting.get(peer)
    if (waiting === undefined) {
      this.#waiting.set(peer, [frame])
      this.#swallow(peer, this.#open(peer))
    } else {
      if (waiting.length >= maxWaiting) waiting.shift()
      waiting.push(frame)
    }
  }

  async #open(peer: NodeId): Promise<void> {
    try {
      const channel = await this.#init.network.open(peer, protocol, options)
      if (this.#stopServing === undefined) channel.abort(new Error('Presence was stopped'))
      else this.#swallow(peer, this.#run(channel, true))
    } finally {
      this.#waiting.delete(peer)
    }
  }

  async #run(channel: Channel, isOurs: boolean): Promise<void> {
    const { peer } = channel
    const stream: Stream = { channel, isOurs, ended: Promise.withResolvers(), usedAtMs: this.#init.clock.monotonic() }
    this.#add(peer, stream)
    try {
      this.#init.onOpen(peer)
      for (const frame of this.#waiting.get(peer) ?? []) this.send(peer, frame)
      this.#waiting.get(peer)?.splice(0)
      for await (const frame of channel.frames()) {
        stream.usedAtMs = this.#init.clock.monotonic()
        this.#init.onFrame(peer, frame)
      }
    } catch (error) {
      channel.abort(error instanceof Error ? error : new Error(messageOf(error)))
      throw error
    } finally {
      this.#remove(peer, stream)
      stream.ended.resolve()
      if (isOurs) this.#swallow(peer, channel.close())
    }
  }

  /** When both sides opened one at once, both use the one of the smaller id, and the other one ends. */
  #add(peer: NodeId, stream: Stream): void {
    const preferOurs = this.#init.network.nodeId < peer
    const others = this.#streams.get(peer) ?? []
    for (const other of others)
      if (other.isOurs === stream.isOurs) other.channel.abort(new Error('There is a newer one'))
    const kept = others.filter((other) => other.isOurs !== stream.isOurs)
    const streams = [stream, ...kept].sort(
      (one, two) => Number(two.isOurs === preferOurs) - Number(one.isOurs === preferOurs)
    )
    this.#streams.set(peer, streams)
    const surplus = streams[1]
    if (surplus?.isOurs === true) this.#swallow(peer, surplus.channel.close())
  }

  #remove(peer: NodeId, stream: Stream): void {
    const rest = (this.#streams.get(peer) ?? []).filter((other) => other !== stream)
    if (rest.length > 0) this.#streams.set(peer, rest)
    else this.#streams.delete(peer)
  }

  #swallow(peer: NodeId, work: Promise<void>): void {
    work.catch((error: unknown) => this.#init.logger.debug(`watch stream to ${peer}: ${messageOf(error)}`))
  }
}
