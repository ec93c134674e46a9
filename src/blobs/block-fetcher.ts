import { raceSignal, throwIfAborted, withDeadline, type AbortOptions } from '../core/abort.js'
import { sleep, type Environment } from '../core/environment.js'
import { MurmurateError, errorCode } from '../core/errors.js'
import type { Cid, NodeId } from '../core/ids.js'
import type { BlobStore } from './blob-store.js'
import type { PeerPool } from './peer-pool.js'

/** Parts that getting blocks needs. */
export interface BlockFetcherComponents {
  readonly store: BlobStore
  readonly pool: PeerPool
  readonly environment: Environment
}

/** Knobs of getting blocks. */
export interface BlockFetcherInit {
  readonly blockTimeoutMs: number
  readonly retryMs: number
}

/** How to get a block. */
export interface BlockOptions extends AbortOptions {
  /** A larger one is refused. */
  readonly maxBytes: number
  /** Ask again and again until the signal fires. Otherwise ask every peer once. */
  readonly isPatient: boolean
  /** Told when every peer was asked in vain. */
  readonly onStall?: ((reason: string) => void) | undefined
}

/** Gets small blocks: from the store, else from peers, and keeps them. */
export class BlockFetcher {
  readonly #components: BlockFetcherComponents
  readonly #init: BlockFetcherInit
  /** Who gave a block last is asked first: it probably has the next one too. */
  #lastGiver: NodeId | undefined

  constructor(components: BlockFetcherComponents, init: BlockFetcherInit) {
    this.#components = components
    this.#init = init
  }

  /**
   * Gets a block.
   *
   * @throws MurmurateError `BLOB_NOT_FOUND` when no peer has it (and the options are not patient), `ABORTED`
   */
  async get(cid: Cid, options: BlockOptions): Promise<Uint8Array> {
    const { store, environment } = this.#components
    for (;;) {
      throwIfAborted(options.signal)
      const local = await store.getBlock(cid)
      if (local !== undefined) return local
      const block = await raceSignal(this.#ask(cid, options), options.signal)
      if (block !== undefined) {
        await store.putBlock(cid, block)
        return block
      }
      const reason = `no connected peer has block ${cid}`
      if (!options.isPatient) throw new MurmurateError('BLOB_NOT_FOUND', reason, { details: { cid } })
      options.onStall?.(reason)
      await sleep(environment.clock, this.#init.retryMs, options.signal)
    }
  }

  async #ask(cid: Cid, options: BlockOptions): Promise<Uint8Array | undefined> {
    const peers = this.#components.pool.candidates().toSorted((a, b) => this.#order(a) - this.#order(b))
    for (const peer of peers) {
      throwIfAborted(options.signal)
      const block = await this.#askOne(peer, cid, options)
      if (block === undefined) continue
      this.#lastGiver = peer
      return block
    }
    return undefined
  }

  async #askOne(peer: NodeId, cid: Cid, options: BlockOptions): Promise<Uint8Array | undefined> {
    const want = async (): Promise<Uint8Array | undefined> => {
      const session = await this.#components.pool.session(peer)
      return session?.want(cid, options.maxBytes)
    }
    try {
      const { clock } = this.#components.environment
      return await withDeadline(clock, this.#init.blockTimeoutMs, want, { what: 'A block' })
    } catch (error) {
      if (errorCode(error) === 'TIMEOUT') return undefined
      throw error
    }
  }

  #order(peer: NodeId): number {
    return peer === this.#lastGiver ? 0 : 1
  }
}
