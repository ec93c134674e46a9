import { afterEach, describe, expect, test } from 'vitest'
import { errorCode } from '../../src/core/errors.js'
import { maxGossipBytes, type Channel, type Network, type PeerEvent } from '../../src/net/network.js'
import { inTime, until } from '../support/until.js'

/** Makes networks of one mesh that link up only when they are told to. */
export interface NetworkFactory {
  /** A network that was not started. */
  create(): Promise<Network>
  /** A well-formed address at which nobody answers. */
  deadAddress(): string
}

const kib = 1024
const limit = { maxFrameBytes: 1024 * kib }
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString()

/** What every network promises. */
export function networkContract(name: string, makeFactory: () => NetworkFactory): void {
  describe(`the network contract: ${name}`, () => {
    const factory = makeFactory()
    let networks: Network[] = []

    afterEach(async () => {
      await Promise.all(networks.map(async (network) => network.stop()))
      networks = []
    })

    const create = async (): Promise<Network> => {
      const network = await factory.create()
      networks.push(network)
      return network
    }
    const started = async (): Promise<Network> => {
      const network = await create()
      await network.start()
      return network
    }
    const link = async (one: Network, two: Network): Promise<void> => {
      await one.dial(two.addresses()[0] ?? '')
      await until('the link', () => two.peers().includes(one.nodeId) && one.peers().includes(two.nodeId))
    }
    const pair = async (): Promise<[Network, Network]> => {
      const [one, two] = [await started(), await started()]
      await link(one, two)
      return [one, two]
    }
    const line = async (): Promise<[Network, Network, Network]> => {
      const [one, two] = await pair()
      const three = await started()
      await link(two, three)
      return [one, two, three]
    }
    /** What a network hears on a topic. */
    const listen = (network: Network, topic: string): string[] => {
      const heard: string[] = []
      network.subscribe(topic, ({ data }) => {
        heard.push(text(data))
        return 'accept'
      })
      return heard
    }
    /** Publishes probes until all have heard one: from then on the way is known. */
    const warmUp = async (publisher: Network, topic: string, all: readonly string[][]): Promise<void> => {
      let count = 0
      const heardByAll = async (): Promise<boolean> => {
        await publisher.publish(topic, Buffer.from(`probe ${count++}`))
        return all.every((heard) => heard.length > 0)
      }
      await until('the gossip to flow', heardByAll)
    }
    const serveEcho = (network: Network): void => {
      const echo = async (channel: Channel): Promise<void> => {
        for await (const frame of channel.frames()) await channel.send([frame])
      }
      network.serve('/echo/1', echo, limit)
    }
    /** A protocol whose channels are handed to the test, and stay open until it is done. */
    const serveManually = (network: Network, protocol: string, options = limit): Promise<Channel> =>
      new Promise((resolve) => {
        const hold = async (channel: Channel): Promise<void> => {
          resolve(channel)
          await new Promise(() => {})
        }
        network.serve(protocol, hold, options)
      })
    const manualPair = async (
      options = limit
    ): Promise<{ one: Network; two: Network; near: Channel; far: Channel }> => {
      const [one, two] = await pair()
      const accepted = serveManually(two, '/manual/1', options)
      const near = await one.open(two.nodeId, '/manual/1', limit)
      return { one, two, near, far: await inTime('the channel to be accepted', accepted) }
    }
    const failure = async (promise: Promise<unknown>): Promise<string | undefined> =>
      promise.then(
        () => 'nothing was thrown',
        (error: unknown) => errorCode(error) ?? String(error)
      )
    const readAll = async (channel: Channel): Promise<Uint8Array[]> => {
      const frames: Uint8Array[] = []
      for await (const frame of channel.frames()) frames.push(frame)
      return frames
    }
    const readOne = async (channel: Channel): Promise<Uint8Array | undefined> => {
      for await (const frame of channel.frames()) return frame
      return undefined
    }

    describe('links', () => {
      test('[NET-5] a dial links both, each hears of it once, and it returns who answered', async () => {
        const [one, two] = [await started(), await started()]
        const events: PeerEvent[] = []
        one.onPeer((event) => events.push(event))
        two.onPeer((event) => events.push(event))
        expect(await one.dial(two.addresses()[0] ?? '')).toBe(two.nodeId)
        await until('both events', () => events.length === 2)
        expect(await one.dial(two.addresses()[0] ?? '')).toBe(two.nodeId)
        expect(events).toHaveLength(2)
        expect(events).toContainEqual({ type: 'connected', peer: one.nodeId })
        expect(events).toContainEqual({ type: 'connected', peer: two.nodeId })
        expect([one.peers(), two.peers()]).toEqual([[two.nodeId], [one.nodeId]])
      })

      test('[NET-5] both dial at once: one link, one event on each side, and it carries channels', async () => {
        const [one, two] = [await started(), await started()]
        const events: PeerEvent[] = []
        one.onPeer((event) => events.push(event))
        two.onPeer((event) => events.push(event))
        serveEcho(two)
        serveEcho(one)
        await Promise.all([one.dial(two.addresses()[0] ?? ''), two.dial(one.addresses()[0] ?? '')])
        for (const [from, to] of [
          [one, two],
          [two, one]
        ] as const) {
          const channel = await from.open(to.nodeId, '/echo/1', limit)
          await channel.send([Buffer.from('hello')])
          expect(text((await inTime('the echo', readOne(channel))) ?? new Uint8Array())).toBe('hello')
          await channel.close()
        }
        expect(events.map(({ type }) => type)).toEqual(['connected', 'connected'])
      })

      test('[NET-20] a probe tells a running process from one that is gone, without a link', async () => {
        const [one, two] = await pair()
        await until('the addresses', async () => (await one.probe(two.nodeId)) === 'answers')
        await two.stop()
        await until('the lost link', () => one.peers().length === 0)
        expect(await one.probe(two.nodeId)).toBe('refused')
        expect(one.peers()).toEqual([])
        expect(await failure(one.probe(two.nodeId, { signal: AbortSignal.abort() }))).toBe('ABORTED')
        await one.stop()
        expect(await failure(one.probe(two.nodeId))).toBe('NOT_STARTED')
      })

      test('hangUp takes the link down on both sides and breaks its channels on both ends; the peer may not come back by itself', async () => {
        const { one, two, near, far } = await manualPair()
        const events: PeerEvent[] = []
        one.onPeer((event) => events.push(event))
        two.onPeer((event) => events.push(event))
        const readers = [failure(readAll(near)), failure(readAll(far))]
        await one.hangUp(two.nodeId)
        await until('both events', () => events.length >= 2)
        expect(events).toContainEqual({ type: 'disconnected', peer: one.nodeId })
        expect(events).toContainEqual({ type: 'disconnected', peer: two.nodeId })
        expect(await inTime('the readers', Promise.all(readers))).toEqual(['NETWORK_ERROR', 'NETWORK_ERROR'])
        expect([one.peers(), two.peers()]).toEqual([[], []])
        expect(await failure(one.open(two.nodeId, '/manual/1', limit))).toBe('NETWORK_ERROR')
        expect(await failure(two.dial(one.addresses()[0] ?? ''))).toBe('NETWORK_ERROR')
        await link(one, two)
      })

      test('a dial to nobody is NETWORK_ERROR within seconds, a malformed address INVALID_REQUEST', async () => {
        const one = await started()
        expect(await inTime('the refusal', failure(one.dial(factory.deadAddress())), 10_000)).toBe('NETWORK_ERROR')
        for (const address of [
          '',
          'localhost:80',
          '/ip4/1.2.3.4',
          '/ip4/999.1.1.1/tcp/1',
          '/ip4/1.2.3.4/udp/1/quic-v1'
        ]) {
          expect(await failure(one.dial(address)), address).toBe('INVALID_REQUEST')
        }
        expect(await failure(one.dial(factory.deadAddress(), { signal: AbortSignal.abort() }))).toBe('ABORTED')
      })

      test('a listener that throws does not keep the event from the others; one that left hears nothing', async () => {
        const [one, two] = [await started(), await started()]
        const heard: string[] = []
        one.onPeer(() => {
          throw new Error('bad listener')
        })
        one.onPeer(() => heard.push('stayed'))
        const leave = one.onPeer(() => heard.push('left'))
        leave()
        await link(one, two)
        expect(heard).toEqual(['stayed'])
      })

      test('traffic is counted both ways', async () => {
        const { one, two, near, far } = await manualPair()
        const before = [one.traffic(), two.traffic()]
        await near.send([Buffer.alloc(100 * kib)])
        await readOne(far)
        expect(one.traffic().sentBytes - (before[0]?.sentBytes ?? 0)).toBeGreaterThanOrEqual(100 * kib)
        expect(two.traffic().receivedBytes - (before[1]?.receivedBytes ?? 0)).toBeGreaterThanOrEqual(100 * kib)
      })
    })

    describe('gossip', () => {
      test('[NET-6] reaches every other subscriber once, over several hops, and names who passed it on', async () => {
        const [one, two, three] = await line()
        const senders: string[] = []
        const heard = [one, two].map((network) => listen(network, 'news'))
        const last: string[] = []
        three.subscribe('news', ({ sender, data }) => {
          last.push(text(data))
          senders.push(sender)
          return 'accept'
        })
        await warmUp(one, 'news', [heard[1] ?? [], last])
        expect(await one.publish('news', Buffer.from('hello'))).toBe(1)
        await until('the message', () => last.includes('hello'))
        await one.publish('news', Buffer.from('end'))
        await until('the end', () => last.includes('end'))
        expect(last.filter((message) => message === 'hello')).toEqual(['hello'])
        expect(heard[1]?.filter((message) => message === 'hello')).toEqual(['hello'])
        expect(heard[0]).toEqual([])
        expect(new Set(senders)).toEqual(new Set([two.nodeId]))
      })

      test.each(['ignore', 'reject'] as const)('%s: it does not travel on', async (verdict) => {
        const [one, two, three] = await line()
        const last = listen(three, 'news')
        two.subscribe('news', ({ data }) => (text(data) === 'secret' ? verdict : 'accept'))
        await warmUp(one, 'news', [last])
        await one.publish('news', Buffer.from('secret'))
        await one.publish('news', Buffer.from('end'))
        await until('the end', () => last.includes('end'))
        expect(last).not.toContain('secret')
      })

      test('a handler that throws loses that message and nothing else', async () => {
        const [one, two] = await pair()
        const heard: string[] = []
        two.subscribe('news', ({ data }) => {
          heard.push(text(data))
          if (text(data) === 'bad') throw new Error('handler')
          return 'accept'
        })
        await warmUp(one, 'news', [heard])
        await one.publish('news', Buffer.from('bad'))
        await one.publish('news', Buffer.from('good'))
        await until('the next message', () => heard.includes('good'))
      })

      test('the largest message passes; one byte more is refused', async () => {
        const [one, two] = await pair()
        const sizes: number[] = []
        two.subscribe('news', ({ data }) => {
          sizes.push(data.byteLength)
          return 'accept'
        })
        await until('the gossip to flow', async () => {
          await one.publish('news', Buffer.from(`probe ${sizes.length} ${Math.random()}`))
          return sizes.length > 0
        })
        await one.publish('news', Buffer.alloc(maxGossipBytes, 1))
        await until('the large message', () => sizes.includes(maxGossipBytes))
        expect(await failure(one.publish('news', Buffer.alloc(maxGossipBytes + 1)))).toBe('INVALID_REQUEST')
      })

      test('one handler a topic; after unsubscribing nothing comes, and another one can take over', async () => {
        const [one, two] = await pair()
        const first: string[] = []
        const leave = two.subscribe('news', ({ data }) => {
          first.push(text(data))
          return 'accept'
        })
        expect(() => two.subscribe('news', () => 'accept')).toThrow(
          expect.objectContaining({ code: 'INVALID_REQUEST' })
        )
        await warmUp(one, 'news', [first])
        leave()
        leave()
        const second = listen(two, 'news')
        await warmUp(one, 'news', [second])
        const count = first.length
        await one.publish('news', Buffer.from('end'))
        await until('the end', () => second.includes('end'))
        expect(first).toHaveLength(count)
      })

      test('publishing to nobody reaches nobody, and the same bytes again are no error', async () => {
        const one = await started()
        expect(await one.publish('news', Buffer.from('alone'))).toBe(0)
        expect(await one.publish('news', Buffer.from('alone'))).toBe(0)
      })
    })

    describe('channels', () => {
      test('[NET-7] frames of any size come back whole and in order', async () => {
        const [one, two] = await pair()
        serveEcho(two)
        const channel = await one.open(two.nodeId, '/echo/1', limit)
        expect(channel.peer).toBe(two.nodeId)
        const sizes = [0, 1, 256 * kib, 1024 * kib, 0, 5, 64 * kib]
        const send = async (): Promise<void> => {
          for (const size of sizes)
            await channel.send([Buffer.alloc(size >> 1, size), Buffer.alloc(size - (size >> 1), size)])
          await channel.close()
        }
        const [frames] = await inTime('the echo', Promise.all([readAll(channel), send()]))
        expect(frames.map((frame) => frame.byteLength)).toEqual(sizes)
        expect(frames.every((frame) => frame.every((byte) => byte === frame.byteLength % 256))).toBe(true)
      })

      test('two thousand small frames, sent without waiting, stay in order', async () => {
        const { near, far } = await manualPair()
        const sent = Array.from({ length: 2000 }, (_, index) => `frame ${index}`)
        const sending = Promise.all(sent.map((frame) => near.send([Buffer.from(frame)])))
        const received: string[] = []
        for await (const frame of far.frames()) {
          received.push(text(frame))
          if (received.length === sent.length) break
        }
        await inTime('the sends', sending)
        expect(received).toEqual(sent)
      })

      test('[NET-7] a sender is held back while the reader does not pull, and goes on when it does', async () => {
        const { near, far } = await manualPair()
        const total = 60
        let sent = 0
        const send = async (): Promise<void> => {
          for (; sent < total; sent++) await near.send([Buffer.alloc(1024 * kib, sent)])
          await near.close()
        }
        const sending = send()
        const stuckAt = await stable(() => sent)
        expect(stuckAt).toBeLessThanOrEqual(3)
        const frames = await inTime('the reader', readAll(far))
        await sending
        expect(frames.map((frame) => frame[0])).toEqual(Array.from({ length: total }, (_, index) => index))
      })

      test('[NET-8] a frame above the limit of the receiver is cut off; above the own limit it is not sent', async () => {
        const { near, far } = await manualPair({ maxFrameBytes: 10 })
        const reading = failure(readAll(far))
        expect(await failure(near.send([Buffer.alloc(1024 * kib + 1)]))).toBe('FRAME_TOO_LARGE')
        await near.send([Buffer.alloc(11)])
        expect(await inTime('the refusal', reading)).toBe('FRAME_TOO_LARGE')
        expect(await inTime('the cut', failure(readAll(near)))).toBe('NETWORK_ERROR')
        expect(await failure(near.send([Buffer.alloc(1)]))).toBe('NETWORK_ERROR')
      })

      test('an unknown protocol, a peer without a link and an aborted signal are refused', async () => {
        const [one, two] = await pair()
        const stranger = await started()
        serveEcho(stranger)
        expect(await inTime('the refusal', failure(one.open(two.nodeId, '/none/1', limit)))).toBe('NETWORK_ERROR')
        expect(await failure(one.open(stranger.nodeId, '/echo/1', limit))).toBe('NETWORK_ERROR')
        serveEcho(two)
        expect(await failure(one.open(two.nodeId, '/echo/1', { ...limit, signal: AbortSignal.abort() }))).toBe(
          'ABORTED'
        )
      })

      test('a protocol that is no longer served is refused', async () => {
        const [one, two] = await pair()
        const stopServing = two.serve('/once/1', async () => {}, limit)
        expect(() => two.serve('/once/1', async () => {}, limit)).toThrow(
          expect.objectContaining({ code: 'INVALID_REQUEST' })
        )
        await (await one.open(two.nodeId, '/once/1', limit)).close()
        stopServing()
        expect(await failure(one.open(two.nodeId, '/once/1', limit))).toBe('NETWORK_ERROR')
      })

      test('a signal ends the wait of a sender that is held back', async () => {
        const { near } = await manualPair()
        const controller = new AbortController()
        const send = async (): Promise<void> => {
          for (;;) await near.send([Buffer.alloc(1024 * kib)], { signal: controller.signal })
        }
        const sending = failure(send())
        controller.abort()
        expect(await inTime('the abort', sending)).toBe('ABORTED')
      })

      test('after close the other side reads to the end, and can still answer', async () => {
        const { near, far } = await manualPair()
        await near.send([Buffer.from('question')])
        await near.close()
        await near.close()
        expect((await inTime('the question', readAll(far))).map(text)).toEqual(['question'])
        await far.send([Buffer.from('answer')])
        await far.close()
        expect((await inTime('the answer', readAll(near))).map(text)).toEqual(['answer'])
        expect(await failure(near.send([Buffer.from('late')]))).toBe('NETWORK_ERROR')
      })

      test('[NET-7] an abort is an error to the reader at the other end, not an end', async () => {
        const { near, far } = await manualPair()
        const reading = failure(readAll(far))
        const ownReading = failure(readAll(near))
        near.abort(new Error('enough'))
        near.abort(new Error('twice'))
        expect(await inTime('the abort', Promise.all([reading, ownReading]))).toEqual([
          'NETWORK_ERROR',
          'NETWORK_ERROR'
        ])
      })

      test('a handler that throws breaks the channel; the next one is served', async () => {
        const [one, two] = await pair()
        let turn = 0
        const serve = async (channel: Channel): Promise<void> => {
          if (turn++ === 0) throw new Error('handler')
          await channel.send([Buffer.from('fine')])
        }
        two.serve('/flaky/1', serve, limit)
        expect(await inTime('the error', failure(one.open(two.nodeId, '/flaky/1', limit).then(readAll)))).toBe(
          'NETWORK_ERROR'
        )
        const channel = await one.open(two.nodeId, '/flaky/1', limit)
        expect((await inTime('the answer', readAll(channel))).map(text)).toEqual(['fine'])
        await channel.close()
      })

      test('leaving the loop keeps what waits for the next one; two readers at once are refused', async () => {
        const { near, far } = await manualPair()
        for (const frame of ['a', 'b', 'c']) await near.send([Buffer.from(frame)])
        await near.close()
        expect(text((await inTime('the first', readOne(far))) ?? Buffer.from('none'))).toBe('a')
        expect((await inTime('the rest', readAll(far))).map(text)).toEqual(['b', 'c'])
        const waiting = failure(readAll(near))
        expect(await failure(readAll(near))).toBe('INVALID_REQUEST')
        far.abort(new Error('done'))
        expect(await inTime('the first reader', waiting)).toBe('NETWORK_ERROR')
      })

      test('a hundred channels at once between two nodes', async () => {
        const [one, two] = await pair()
        serveEcho(two)
        const ask = async (_: unknown, index: number): Promise<string> => {
          const channel = await one.open(two.nodeId, '/echo/1', limit)
          await channel.send([Buffer.from(`${index}`)])
          await channel.close()
          return (await readAll(channel)).map(text).join()
        }
        const answers = await inTime('the answers', Promise.all(Array.from({ length: 100 }, ask)))
        expect(answers).toEqual(Array.from({ length: 100 }, (_, index) => `${index}`))
      })
    })

    describe('start and stop', () => {
      test('stop without start and stop twice are harmless, start twice is one start', async () => {
        const one = await create()
        await one.stop()
        expect([one.peers(), one.addresses()]).toEqual([[], []])
        expect(await failure(one.dial(factory.deadAddress()))).toMatch(/NOT_STARTED/)
        expect(await failure(one.publish('news', new Uint8Array()))).toBe('NOT_STARTED')
        await Promise.all([one.start(), one.start()])
        const addresses = one.addresses()
        await one.start()
        expect(one.addresses()).toEqual(addresses)
        expect(addresses.every((address) => address.endsWith(`/p2p/${one.nodeId}`))).toBe(true)
        await Promise.all([one.stop(), one.stop()])
        await one.stop()
        expect([one.peers(), one.addresses()]).toEqual([[], []])
      })

      test('stop takes the links down, tells both sides, and breaks the channels', async () => {
        const { one, two, near, far } = await manualPair()
        const events: PeerEvent[] = []
        one.onPeer((event) => events.push(event))
        two.onPeer((event) => events.push(event))
        const readers = [failure(readAll(near)), failure(readAll(far))]
        await one.stop()
        await until('both events', () => events.length === 2)
        expect(events.map(({ type }) => type)).toEqual(['disconnected', 'disconnected'])
        expect(await inTime('the readers', Promise.all(readers))).toEqual(['NETWORK_ERROR', 'NETWORK_ERROR'])
      })

      test('[NET-9] a restarted network keeps its id, its subscriptions and its protocols', async () => {
        const [one, two] = await pair()
        serveEcho(two)
        const heard = listen(two, 'news')
        await two.stop()
        await until('the loss', () => one.peers().length === 0)
        await two.start()
        await link(two, one)
        await warmUp(one, 'news', [heard])
        const channel = await one.open(two.nodeId, '/echo/1', limit)
        await channel.send([Buffer.from('again')])
        await channel.close()
        expect((await inTime('the echo', readAll(channel))).map(text)).toEqual(['again'])
      })
    })
  })
}

/** The value once it has not changed for 150 ms. */
async function stable(value: () => number): Promise<number> {
  let last = -1
  let same = 0
  await until('a stable value', () => {
    same = value() === last ? same + 1 : 0
    last = value()
    return same > 30
  })
  return last
}
