import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { encode } from '@ipld/dag-cbor'
import type { TransferReport } from '../../../src/blobs/blobs.js'
import type { BlobsInit } from '../../../src/blobs/defaults.js'
import { blocksOf } from '../../../src/blobs/manifest-tree.js'
import type { Cid } from '../../../src/core/ids.js'
import type { Channel } from '../../../src/net/network.js'
import { Bitfield } from '../../../src/blobs/bitfield.js'
import type { FileState } from '../../../src/blobs/blob-store.js'
import { cidOf } from '../../../src/blobs/cid.js'
import {
  decodeAnswererMessage,
  decodeAskerMessage,
  encodeMessage,
  exchangeProtocol,
  maxExchangeFrameBytes,
  noChunk,
  type AnswererMessage,
  type AskerMessage
} from '../../../src/blobs/exchange.js'
import { safetensorsBytes, seededBytes, smallModel } from '../../support/safetensors.js'
import { inTime, until } from '../../support/until.js'
import { Swarm, type SwarmNode } from './swarm.js'

let swarm: Swarm
let source: SwarmNode
let manifest: Cid
let state: FileState
const model = safetensorsBytes(smallModel)
const options = { maxFrameBytes: maxExchangeFrameBytes }

beforeEach(async () => {
  swarm = await Swarm.create()
  source = await swarm.add()
  manifest = await swarm.publish(source, model)
  const [file] = source.store.files()
  const found = file === undefined ? undefined : await source.store.state(file)
  if (found === undefined) throw new Error('nothing was published')
  state = found
})

afterEach(() => swarm.dispose())

type Answer = (message: AskerMessage, say: (message: AnswererMessage) => void) => void

/** A peer that answers as the test says. */
async function addHostile(answer: Answer): Promise<{ readonly peer: string }> {
  const network = await swarm.network()
  network.serve(
    exchangeProtocol,
    async (channel) => {
      const say = (message: AnswererMessage): void => void channel.send(encodeMessage(message)).catch(() => {})
      for await (const frame of channel.frames()) answer(decodeAskerMessage(frame), say)
    },
    options
  )
  return { peer: network.nodeId }
}

const full = (interest: number): AnswererMessage => {
  const { bytes, length } = Bitfield.full(state.chunks.count)
  return { type: 'bitfield', interest, count: length, bits: bytes }
}

/** Every chunk that a request names. */
function chunksOf(message: Extract<AskerMessage, { type: 'request' }>): number[] {
  return message.ranges.flatMap(({ first, count }) => Array.from({ length: count }, (_, index) => first + index))
}

const notHeld = (id: number): AnswererMessage => ({ type: 'reject', id, chunk: noChunk, reason: 'not-held' })

describe('a peer that answers', () => {
  const wrongChunks: Answer = (message, say) => {
    if (message.type === 'want') say(notHeld(message.id))
    if (message.type === 'interest') say(full(message.id))
    if (message.type !== 'request') return
    for (const chunk of chunksOf(message)) {
      say({ type: 'data', request: message.id, chunk, bytes: seededBytes('wrong', state.chunks.length(chunk)) })
    }
  }

  interface Scene {
    readonly init?: BlobsInit
    /** The receiver has the blocks already, and asks for chunks at once. */
    readonly hasBlocks?: boolean
    /** When the source may be asked too. */
    readonly isEnough?: (asked: readonly AskerMessage[]) => boolean
  }

  /** At first only the hostile peer can be asked; when it has shown what it does, the source comes too. */
  async function fetchPast(
    answer: Answer,
    scene: Scene = {}
  ): Promise<TransferReport & { receiver: SwarmNode; peer: string }> {
    const asked: AskerMessage[] = []
    const { peer } = await addHostile((message, say) => {
      asked.push(message)
      answer(message, say)
    })
    const receiver = await swarm.add({ init: { requestTimeoutMs: 150, blockTimeoutMs: 100, ...scene.init } })
    swarm.hub.cut(source.nodeId, receiver.nodeId)
    await until('the cut', () => !receiver.network.peers().includes(source.nodeId))
    if (scene.hasBlocks !== false) await giveBlocks(receiver)
    const fetching = receiver.blobs.fetch(manifest)
    await until('the hostile peer is asked', () => (scene.isEnough ?? ((messages) => messages.length > 0))(asked))
    swarm.hub.heal(source.nodeId, receiver.nodeId)
    const { report } = await inTime('the fetch', fetching)
    expect(report.receivedBytes).toBe(model.length)
    expect([...report.fromPeers.keys()]).toEqual([source.nodeId])
    return { ...report, receiver, peer }
  }

  async function giveBlocks(receiver: SwarmNode): Promise<void> {
    for (const cid of await blocksOf((wanted) => source.store.getBlock(wanted), manifest)) {
      await receiver.store.putBlock(cid, (await source.store.getBlock(cid)) ?? Buffer.alloc(0))
    }
  }

  test('[BLOB-1] with wrong chunks is refused before anything is written, cooled off, then banned, and named', async () => {
    let requests = 0
    const answer: Answer = (message, say) => {
      if (message.type === 'request') requests++
      wrongChunks(message, say)
    }
    const { receiver, peer, refusedPeers } = await fetchPast(answer, {
      init: { coolOffMs: 50, retryMs: 20 },
      isEnough: (asked) => asked.filter(({ type }) => type === 'interest').length === 2
    })
    expect([...refusedPeers]).toEqual([[peer, 2]])
    const before = requests
    await receiver.blobs.remove(manifest)
    await inTime('another fetch', receiver.blobs.fetch(manifest))
    expect(requests).toBe(before)
  })

  const isRequested = (asked: readonly AskerMessage[]): boolean => asked.some(({ type }) => type === 'request')

  test('with nothing at all is passed over, for blocks', async () => {
    await fetchPast(() => {}, { hasBlocks: false })
  })

  test('[BLOB-8] with nothing at all is passed over, for chunks', async () => {
    await fetchPast(() => {})
  })

  const withholding: Answer = (message, say) => {
    if (message.type === 'interest') say(full(message.id))
  }

  test('that it has everything, and then gives nothing, is replaced', async () => {
    const { refusedPeers } = await fetchPast(withholding, { isEnough: isRequested })
    expect(refusedPeers.size).toBe(0)
  })

  test('too slowly is overtaken at the end, and told so', async () => {
    const cancelled: number[] = []
    const slow: Answer = (message, say) => {
      withholding(message, say)
      if (message.type === 'cancel' && message.chunk !== noChunk) cancelled.push(message.chunk)
    }
    await fetchPast(slow, { isEnough: isRequested, init: { requestTimeoutMs: 60_000 } })
    await until('the cancellations', () => cancelled.length > 0)
  })

  test('that it has everything, and then refuses each chunk, is replaced', async () => {
    const refusing: Answer = (message, say) => {
      if (message.type === 'interest') say(full(message.id))
      if (message.type !== 'request') return
      for (const chunk of chunksOf(message)) say({ type: 'reject', id: message.id, chunk, reason: 'not-held' })
    }
    await fetchPast(refusing, { isEnough: isRequested })
  })

  test('with cancellations that nobody wanted is replaced', async () => {
    let requests = 0
    const cancelling: Answer = (message, say) => {
      if (message.type === 'interest') say(full(message.id))
      if (message.type !== 'request') return
      requests++
      for (const chunk of chunksOf(message)) say({ type: 'reject', id: message.id, chunk, reason: 'cancelled' })
    }
    await fetchPast(cancelling, { isEnough: isRequested })
    expect(requests).toBeLessThan(5)
  })

  /** What the receiver was told of this peer: the peer is refused when it answers so. */
  async function expectRefused(answer: Answer, hasBlocks = true): Promise<void> {
    const { receiver } = await fetchPast(answer, { hasBlocks })
    expect(receiver.warnings.filter((line) => line.includes('refused a peer')).length).toBeGreaterThan(0)
  }

  test('with a bitfield that does not fit is refused', async () => {
    const count = state.chunks.count + 1
    const bits = Bitfield.full(count).bytes
    await expectRefused((message, say) => {
      if (message.type === 'interest') say({ type: 'bitfield', interest: message.id, count, bits })
    })
  })

  test('with a second bitfield is refused', async () => {
    const none = {
      type: 'bitfield',
      count: state.chunks.count,
      bits: Bitfield.empty(state.chunks.count).bytes
    } as const
    await expectRefused((message, say) => {
      if (message.type !== 'interest') return
      say({ ...none, interest: message.id })
      say({ ...none, interest: message.id })
    })
  })

  test('with news of chunks that do not exist is refused', async () => {
    await expectRefused((message, say) => {
      if (message.type !== 'interest') return
      say({ type: 'have', interest: message.id, ranges: [{ first: state.chunks.count, count: 1 }] })
    })
  })

  test('with chunks that nobody asked for is refused', async () => {
    await expectRefused((message, say) => {
      if (message.type === 'interest') say({ type: 'data', request: 77, chunk: 0, bytes: Buffer.from('gift') })
    })
  })

  test('with wrong bytes for a block is refused', async () => {
    await expectRefused((message, say) => {
      if (message.type !== 'want') return
      say({ type: 'block', want: message.id, total: 4, offset: 0, bytes: Buffer.from('lies') })
    }, false)
  })

  test('with pieces of a block that do not fit is refused', async () => {
    await expectRefused((message, say) => {
      if (message.type !== 'want') return
      say({ type: 'block', want: message.id, total: 2 ** 24, offset: 1, bytes: Buffer.alloc(1) })
    }, false)
  })
})

test('[BLOB-7] a manifest that is a bomb is refused with a typed error', async () => {
  const files = Array.from({ length: 20_000 }, () => ({ name: 'a', size: 2 ** 52, file: 'x' }))
  const bomb = encode({ version: 1, size: 2 ** 53, files })
  await addHostile((message, say) => {
    if (message.type !== 'want') return
    for (let offset = 0; offset < bomb.byteLength; offset += 200_000) {
      const bytes = bomb.subarray(offset, offset + 200_000)
      say({ type: 'block', want: message.id, total: bomb.byteLength, offset, bytes })
    }
  })
  const receiver = await swarm.add()
  const fetching = inTime('the refusal', receiver.blobs.fetch(cidOf(bomb)))
  await expect(fetching).rejects.toMatchObject({ code: 'MALFORMED' })
  expect(receiver.store.kept()).toEqual([])
})

describe('a peer that asks', () => {
  async function openTo(node: SwarmNode): Promise<Channel> {
    const network = await swarm.network()
    return network.open(node.nodeId, exchangeProtocol, options)
  }

  const say = (channel: Channel, message: AskerMessage): Promise<void> => channel.send(encodeMessage(message))

  /** Reads until the channel ends; tells how. */
  async function ending(channel: Channel): Promise<AnswererMessage[] | 'cut off'> {
    const messages: AnswererMessage[] = []
    try {
      for await (const frame of channel.frames()) messages.push(decodeAnswererMessage(frame))
      return messages
    } catch {
      return 'cut off'
    }
  }

  test('gets one answer for each chunk, and a refusal for what is not there', async () => {
    const channel = await openTo(source)
    await say(channel, { type: 'interest', id: 1, file: state.file })
    await say(channel, { type: 'request', id: 2, interest: 1, ranges: [{ first: state.chunks.count - 1, count: 2 }] })
    await say(channel, { type: 'request', id: 3, interest: 9, ranges: [{ first: 0, count: 1 }] })
    await say(channel, { type: 'interest', id: 4, file: cidOf(Uint8Array.of(9)) })
    await say(channel, { type: 'want', id: 5, cid: cidOf(Uint8Array.of(9)) })
    await channel.close()
    const messages = await inTime('the answers', ending(channel))
    if (messages === 'cut off') throw new Error('cut off')
    expect(messages.filter(({ type }) => type === 'bitfield').length).toBe(1)
    expect(messages.filter((message) => message.type === 'data').map(({ chunk }) => chunk)).toEqual([
      state.chunks.count - 1
    ])
    const refusals = messages.filter((message) => message.type === 'reject')
    expect(new Set(refusals.map(({ id, chunk }) => `${id} ${chunk}`))).toEqual(
      new Set([`2 ${state.chunks.count}`, '3 0', `4 ${noChunk}`, `5 ${noChunk}`])
    )
    expect(refusals.length).toBe(4)
  })

  test('and then cancels gets a refusal instead', async () => {
    const channel = await openTo(source)
    await say(channel, { type: 'interest', id: 1, file: state.file })
    await say(channel, { type: 'request', id: 2, interest: 1, ranges: [{ first: 0, count: 4 }] })
    await say(channel, { type: 'request', id: 3, interest: 1, ranges: [{ first: 4, count: 1 }] })
    await say(channel, { type: 'cancel', id: 3, chunk: 4 })
    await channel.close()
    const messages = await inTime('the answers', ending(channel))
    if (messages === 'cut off') throw new Error('cut off')
    expect(messages.at(-1)).toEqual({ type: 'reject', id: 3, chunk: 4, reason: 'cancelled' })
  })

  test('and leaves before it is answered has left, however often', async () => {
    const { store } = source
    const stateOf = store.state.bind(store)
    // A disk that takes its time, and a peer that does not: nothing here waits for something to have happened.
    store.state = async (file) => {
      await new Promise((resolve) => setTimeout(resolve, 2))
      return stateOf(file)
    }
    const channel = await openTo(source)
    for (let id = 1; id <= 100; id++) {
      await say(channel, { type: 'interest', id, file: state.file })
      await say(channel, { type: 'leave', id })
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    await say(channel, { type: 'interest', id: 1000, file: state.file })
    await channel.close()
    const messages = await inTime('the answers', ending(channel))
    expect(messages === 'cut off' ? messages : messages.at(-1)).toMatchObject({ type: 'bitfield', interest: 1000 })
  })

  test('for too much at once is cut off, and others are still served', async () => {
    const channel = await openTo(source)
    await say(channel, { type: 'interest', id: 1, file: state.file })
    for (let id = 2; id < 500; id++) {
      await say(channel, { type: 'request', id, interest: 1, ranges: [{ first: 0, count: 4 }] }).catch(() => {})
    }
    expect(await inTime('the cut', ending(channel))).toBe('cut off')
    const receiver = await swarm.add()
    await inTime('the fetch', receiver.blobs.fetch(manifest))
  })

  test('for more bytes in one request than allowed is cut off', async () => {
    const channel = await openTo(source)
    await say(channel, { type: 'interest', id: 1, file: state.file })
    await say(channel, { type: 'request', id: 2, interest: 1, ranges: [{ first: 0, count: 64 }] })
    expect(await inTime('the cut', ending(channel))).toBe('cut off')
  })

  test('with garbage is cut off', async () => {
    for (const frame of [
      Buffer.alloc(0),
      Buffer.from('garbage'),
      Buffer.alloc(200_000),
      Buffer.from([1, 0, 0, 0, 1, 2])
    ]) {
      const channel = await openTo(source)
      await channel.send([frame]).catch(() => {})
      expect(await inTime('the cut', ending(channel))).toBe('cut off')
    }
  })
})
