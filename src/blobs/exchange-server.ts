import type { Environment } from '../core/environment.js'
import { MurmurateError } from '../core/errors.js'
import type { Cid, NodeId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import type { Logger } from '../core/logger.js'
import type { Channel, Network, Unsubscribe } from '../net/network.js'
import type { BlobStore } from './blob-store.js'
import { exchangeProtocol, maxExchangeFrameBytes } from './exchange.js'
import { Semaphore } from './semaphore.js'
import { UploadSession } from './upload-session.js'

/** Parts that serving needs. */
export interface ExchangeServerComponents {
  readonly network: Network
  readonly store: BlobStore
  readonly environment: Environment
  readonly logger: Logger
}

/** Knobs of serving. */
export interface ExchangeServerInit {
  readonly concurrentReads: number
  readonly haveDelayMs: number
  readonly sendTimeoutMs: number
  /** Told when a peer becomes interested in a file. */
  readonly onInterest: (peer: NodeId, file: Cid) => void
}

/** Serves blocks and chunks to peers, complete files and parts alike. */
export class ExchangeServer implements Startable {
  readonly #components: ExchangeServerComponents
  readonly #init: ExchangeServerInit
  readonly #reads: Semaphore
  /** One for each peer: a second channel replaces the first. */
  readonly #sessions = new Map<NodeId, UploadSession>()
  readonly #running = new Set<Promise<void>>()
  #unserve: Unsubscribe | undefined

  constructor(components: ExchangeServerComponents, init: ExchangeServerInit) {
    this.#components = components
    this.#init = init
    this.#reads = new Semaphore(init.concurrentReads)
  }

  start(): void {
    this.#unserve ??= this.#components.network.serve(exchangeProtocol, (channel) => this.#serve(channel), {
      maxFrameBytes: maxExchangeFrameBytes
    })
  }

  async stop(): Promise<void> {
    this.#unserve?.()
    this.#unserve = undefined
    for (const session of this.#sessions.values()) session.abort(new MurmurateError('ABORTED', 'The node is stopping'))
    await Promise.all(this.#running)
  }

  /** Tells interested peers that a chunk has come in. */
  announce(file: Cid, chunk: number): void {
    for (const session of this.#sessions.values()) session.announce(file, chunk)
  }

  async #serve(channel: Channel): Promise<void> {
    const { peer } = channel
    const session = new UploadSession({
      ...this.#components,
      ...this.#init,
      channel,
      reads: this.#reads,
      onInterest: (file) => this.#init.onInterest(peer, file)
    })
    this.#sessions.get(peer)?.abort(new MurmurateError('ABORTED', 'The peer opened another channel'))
    this.#sessions.set(peer, session)
    const running = session.run()
    this.#running.add(running)
    await running
    this.#running.delete(running)
    if (this.#sessions.get(peer) === session) this.#sessions.delete(peer)
  }
}
