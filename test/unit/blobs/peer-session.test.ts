import '../../../src/core/polyfill.js'
import { beforeEach, expect, test } from 'vitest'
import type { NodeId } from '../../../src/core/ids.js'
import type { Channel } from '../../../src/net/network.js'
import { Bitfield } from '../../../src/blobs/bitfield.js'
import { ChunkListBuilder } from '../../../src/blobs/chunk-list.js'
import { cidOf, digestOf } from '../../../src/blobs/cid.js'
import {
  decodeAskerMessage,
  encodeMessage,
  exchangeLimits,
  noChunk,
  type AnswererMessage,
  type AskerMessage
} from '../../../src/blobs/exchange.js'
import { PeerSession, type InterestListener } from '../../../src/blobs/peer-session.js'
import { VirtualClock } from '../../support/virtual-clock.js'

const file = cidOf(Uint8Array.of(1))
const chunkBytes = 256 * 1024
const requestTimeoutMs = 1000

/** A channel whose other end is the test. */
class TestChannel implements Channel {
  readonly peer = 'peer' as NodeId
  readonly said: AskerMessage[] = []
  abortedWith: Error | undefined
  readonly #frames: Uint8Array[] = []
  #wake = Promise.withResolvers<void>()

  async send(parts: readonly Uint8Array[]): Promise<void> {
    this.said.push(decodeAskerMessage(Buffer.concat(parts)))
  }

  answer(message: AnswererMessage): void {
    this.#frames.push(new Uint8Array(Buffer.concat(encodeMessage(message))))
    this.#wake.resolve()
  }

  async *frames(): AsyncIterable<Uint8Array> {
    while (this.abortedWith === undefined) {
      for (let next = this.#frames.shift(); next !== undefined; next = this.#frames.shift()) yield next
      this.#wake = Promise.withResolvers()
      await this.#wake.promise
    }
  }

  async close(): Promise<void> {}

  abort(reason: Error): void {
    this.abortedWith = reason
    this.#wake.resolve()
  }
}

let clock: VirtualClock
let channel: TestChannel
let session: PeerSession
let heard: string[]

const listener: InterestListener = {
  onBitfield: () => heard.push('bitfield'),
  onHave: () => heard.push('have'),
  onRefused: () => heard.push('refused'),
  onChunk: (_, chunk) => heard.push(`chunk ${chunk}`),
  onNoChunk: (_, chunk, reason) => heard.push(`no chunk ${chunk}: ${reason}`),
  onLate: (_, chunk) => heard.push(`late ${chunk}`),
  onClosed: () => heard.push('closed')
}

function chunksOf(count: number): ReturnType<ChunkListBuilder['build']> {
  const list = new ChunkListBuilder()
  for (let chunk = 0; chunk < count; chunk++) list.add(digestOf(Buffer.from(String(chunk))), chunkBytes)
  return list.build()
}

beforeEach(() => {
  clock = new VirtualClock({ settleTurns: 2 })
  channel = new TestChannel()
  heard = []
  session = new PeerSession({ channel, clock, requestTimeoutMs, onClosed: () => heard.push('session closed') })
})

/** Joins a file and asks for chunks of it; returns the number of the request. */
async function ask(...chunks: number[]): Promise<number> {
  const interest = session.join(file, chunksOf(100), listener)
  channel.answer({ type: 'bitfield', interest, count: 100, bits: Bitfield.full(100).bytes })
  session.request(interest, chunks)
  await clock.settle()
  return channel.said.findLast(({ type }) => type === 'request')?.id ?? 0
}

const data = (request: number, chunk: number): AnswererMessage => ({
  type: 'data',
  request,
  chunk,
  bytes: Buffer.alloc(1)
})

test('no more is asked than the credit, which grows as the peer answers', async () => {
  expect(session.freeBytes).toBe(4 * chunkBytes)
  const request = await ask(0, 1, 2, 3)
  expect([session.owedBytes, session.freeBytes]).toEqual([4 * chunkBytes, 0])
  for (const chunk of [0, 1, 2, 3]) channel.answer(data(request, chunk))
  await clock.settle()
  expect(heard).toEqual(['bitfield', 'chunk 0', 'chunk 1', 'chunk 2', 'chunk 3'])
  expect([session.owedBytes, session.freeBytes]).toEqual([0, 8 * chunkBytes])
  for (let round = 0; round < 10; round++) {
    channel.answer(data(await ask(0), 0))
    await clock.settle()
  }
  expect(session.freeBytes).toBe(exchangeLimits.creditBytes)
})

test('[BLOB-8] a peer that is silent too long is late: others get its chunks, and it is asked no more until it answers', async () => {
  const request = await ask(0, 1)
  await clock.advance(requestTimeoutMs)
  session.check(clock.monotonic())
  expect(heard).toEqual(['bitfield'])
  await clock.advance(1)
  session.check(clock.monotonic())
  session.check(clock.monotonic())
  expect(heard).toEqual(['bitfield', 'late 0', 'late 1'])
  expect(channel.said.at(-1)).toEqual({ type: 'cancel', id: request, chunk: noChunk })
  expect(session.freeBytes).toBe(0)
  channel.answer({ type: 'reject', id: request, chunk: 0, reason: 'cancelled' })
  await clock.settle()
  expect(session.freeBytes).toBe(0)
  channel.answer(data(request, 1))
  await clock.settle()
  expect(heard.slice(3)).toEqual(['no chunk 0: cancelled', 'chunk 1'])
  expect(session.freeBytes).toBeGreaterThan(0)
})

test('a peer that answers now and then is not late', async () => {
  const request = await ask(0, 1, 2)
  for (const chunk of [0, 1]) {
    await clock.advance(requestTimeoutMs - 1)
    channel.answer(data(request, chunk))
    await clock.settle()
    session.check(clock.monotonic())
  }
  expect(heard).toEqual(['bitfield', 'chunk 0', 'chunk 1'])
})

test('a peer that stays silent is hung up on', async () => {
  await ask(0)
  await clock.advance(3 * requestTimeoutMs + 1)
  session.check(clock.monotonic())
  await session.ended
  expect(heard).toEqual(['bitfield', 'session closed', 'closed'])
  expect(channel.abortedWith).toMatchObject({ code: 'TIMEOUT' })
})

test('a wanted block that does not come in time is given up, and may still come', async () => {
  const block = Buffer.from('block')
  const wanted = session.want(cidOf(block), 100)
  await clock.advance(requestTimeoutMs + 1)
  session.check(clock.monotonic())
  expect(await wanted).toBeUndefined()
  channel.answer({ type: 'block', want: channel.said[0]?.id ?? 0, total: 5, offset: 0, bytes: block })
  await clock.settle()
  expect(channel.abortedWith).toBeUndefined()
  expect(session.freeBytes).toBeGreaterThan(0)
})

test('a block comes in pieces, is verified, and is no larger than was allowed', async () => {
  const block = Buffer.from('0123456789')
  const wanted = session.want(cidOf(block), 10)
  channel.answer({ type: 'block', want: 1, total: 10, offset: 0, bytes: block.subarray(0, 4) })
  channel.answer({ type: 'block', want: 1, total: 10, offset: 4, bytes: block.subarray(4) })
  expect(await wanted).toEqual(new Uint8Array(block))
  const tooLarge = session.want(cidOf(block), 9)
  channel.answer({ type: 'block', want: 2, total: 10, offset: 0, bytes: block })
  expect(await tooLarge).toBeUndefined()
  await session.ended
  expect(channel.abortedWith).toMatchObject({ code: 'MALFORMED' })
})

test('leaving cancels what was asked, and what comes late is taken quietly', async () => {
  const request = await ask(0, 1)
  session.leave(1)
  expect(channel.said.slice(-2)).toEqual([
    { type: 'cancel', id: request, chunk: noChunk },
    { type: 'leave', id: 1 }
  ])
  channel.answer({ type: 'have', interest: 1, ranges: [{ first: 0, count: 1 }] })
  channel.answer(data(request, 0))
  channel.answer({ type: 'reject', id: request, chunk: 1, reason: 'cancelled' })
  await clock.settle()
  expect(channel.abortedWith).toBeUndefined()
  expect(session.owedBytes).toBe(0)
})

test('a refusal of an interest that was left meanwhile is taken quietly', async () => {
  const interest = session.join(cidOf(Uint8Array.of(2)), chunksOf(1), listener)
  session.leave(interest)
  channel.answer({ type: 'reject', id: interest, chunk: noChunk, reason: 'not-held' })
  await clock.settle()
  expect(channel.abortedWith).toBeUndefined()
})

test('[BLOB-7] a peer that tells of the same chunks again and again is refused', async () => {
  const interest = session.join(cidOf(Uint8Array.of(2)), chunksOf(10), listener)
  const have: AnswererMessage = { type: 'have', interest, ranges: [{ first: 0, count: 9 }] }
  for (let news = 0; news < 4; news++) channel.answer(have)
  await clock.settle()
  expect(channel.abortedWith).toBeUndefined()
  channel.answer(have)
  await session.ended
  expect(channel.abortedWith).toMatchObject({ code: 'MALFORMED' })
})

test('a block in pieces of any size is put together', async () => {
  const block = Buffer.from(Array.from({ length: 1000 }, (_, index) => index % 251))
  const wanted = session.want(cidOf(block), block.byteLength)
  const want = channel.said.at(-1)?.id ?? 0
  for (let offset = 0, length = 1; offset < 1000; offset += length, length = (length % 7) + 1) {
    channel.answer({ type: 'block', want, total: 1000, offset, bytes: block.subarray(offset, offset + length) })
  }
  expect(await wanted).toEqual(new Uint8Array(block))
})
