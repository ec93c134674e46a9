import type { ChunkList } from './chunk-list.js'
import { noChunk } from './exchange.js'

/** A request that has not been answered in full. */
export interface OwedRequest<Owner> {
  readonly id: number
  readonly owner: Owner
  /** Chunks without an answer. */
  readonly chunks: Set<number>
  /** Chunks that we said we do not need any more; `noChunk` stands for all. */
  readonly cancelled: Set<number>
}

/** What one peer owes: every chunk asked for is answered exactly once, by the chunk or by a refusal. */
export class OwedChunks<Owner extends { readonly chunks: ChunkList }> {
  readonly #requests = new Map<number, OwedRequest<Owner>>()
  #bytes = 0

  /** Requests that are not answered in full. */
  get requests(): number {
    return this.#requests.size
  }

  /** Bytes of the chunks without an answer. */
  get bytes(): number {
    return this.#bytes
  }

  /** All requests, or those of one owner. */
  of(owner?: Owner): readonly OwedRequest<Owner>[] {
    return [...this.#requests.values()].filter((request) => owner === undefined || request.owner === owner)
  }

  /** Books a request. */
  add(id: number, owner: Owner, chunks: readonly number[]): void {
    this.#requests.set(id, { id, owner, chunks: new Set(chunks), cancelled: new Set() })
    for (const chunk of chunks) this.#bytes += owner.chunks.length(chunk)
  }

  /** Books an answer; returns whose request it was, undefined when nobody asked. */
  answered(id: number, chunk: number): Owner | undefined {
    const request = this.#requests.get(id)
    if (request === undefined || !request.chunks.delete(chunk)) return undefined
    this.#bytes -= request.owner.chunks.length(chunk)
    if (request.chunks.size === 0) this.#requests.delete(id)
    return request.owner
  }

  /** Whether we said that we do not need this chunk any more. */
  isCancelled(id: number, chunk: number): boolean {
    const cancelled = this.#requests.get(id)?.cancelled
    return cancelled?.has(chunk) === true || cancelled?.has(noChunk) === true
  }

  /** Whether a request still has chunks without an answer. */
  has(id: number): boolean {
    return this.#requests.has(id)
  }

  /** The peer is gone, and its debts with it. */
  clear(): void {
    this.#requests.clear()
    this.#bytes = 0
  }
}
