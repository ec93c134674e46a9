import { afterEach, describe, expect, test } from 'vitest'
import { errorCode } from '../../src/core/errors.js'
import type { NodeId } from '../../src/core/ids.js'
import type { Channel, Network, PeerGuard } from '../../src/net/network.js'
import { inTime, until } from '../support/until.js'
import type { NetworkFactory } from './network-contract.js'

const limit = { maxFrameBytes: 1024 }

/** A guard that a test changes as it goes. */
class TestGuard implements PeerGuard {
  readonly banned = new Set<NodeId>()
  readonly strangers = new Set<NodeId>()

  mayLink(peer: NodeId): boolean {
    return !this.banned.has(peer)
  }

  mayUse(peer: NodeId, name: string): boolean {
    return name === '/open/1' || !this.strangers.has(peer)
  }
}

/** What every network promises of its guard. */
export function networkGuardContract(name: string, makeFactory: () => NetworkFactory): void {
  describe(`the guard of a network: ${name}`, () => {
    const factory = makeFactory()
    let networks: Network[] = []

    afterEach(async () => {
      await Promise.all(networks.map(async (network) => network.stop()))
      networks = []
    })

    const started = async (): Promise<Network> => {
      const network = await factory.create()
      networks.push(network)
      for (const protocol of ['/open/1', '/closed/1']) network.serve(protocol, echo, limit)
      await network.start()
      return network
    }
    const link = async (one: Network, two: Network): Promise<void> => {
      await one.dial(two.addresses()[0] ?? '')
      await until('the link', () => two.peers().includes(one.nodeId) && one.peers().includes(two.nodeId))
    }
    const guarded = (network: Network): TestGuard => {
      const guard = new TestGuard()
      network.guard(guard)
      return guard
    }
    const listen = (network: Network): string[] => {
      const heard: string[] = []
      network.subscribe('news', ({ data }) => {
        heard.push(Buffer.from(data).toString())
        return 'accept'
      })
      return heard
    }
    /** Publishes probes until the receiver hears one. */
    const flows = async (publisher: Network, heard: string[], word: string): Promise<void> => {
      let count = 0
      await until(`${word} to arrive`, async () => {
        await publisher.publish('news', Buffer.from(`${word} ${count++}`))
        return heard.some((text) => text.startsWith(word))
      })
    }
    const asks = async (from: Network, to: Network, protocol: string): Promise<unknown> => {
      try {
        const channel = await from.open(to.nodeId, protocol, limit)
        await channel.send([Buffer.from('hello')])
        for await (const frame of channel.frames()) return Buffer.from(frame).toString()
        return 'no answer'
      } catch (error) {
        return errorCode(error)
      }
    }

    test('[ROOT-14] a stranger may use the open protocol and no other, in both directions', async () => {
      const [one, two] = [await started(), await started()]
      guarded(two).strangers.add(one.nodeId)
      await link(one, two)
      expect(
        await inTime('the open ones', Promise.all([asks(one, two, '/open/1'), asks(two, one, '/open/1')]))
      ).toEqual(['hello', 'hello'])
      expect(await inTime('the refusal', asks(two, one, '/closed/1'))).toBe('NETWORK_ERROR')
      expect(await inTime('the refusal', asks(one, two, '/closed/1'))).not.toBe('hello')
    })

    test('[ROOT-14] a stranger neither hears nor is heard, until it is let in on the same link', async () => {
      const [one, two, three] = [await started(), await started(), await started()]
      const heard = new Map([one, two, three].map((network) => [network, listen(network)]))
      const of = (network: Network): string[] => heard.get(network) ?? []
      const guard = guarded(two)
      guard.strangers.add(one.nodeId)
      await link(one, two)
      await link(two, three)
      await flows(two, of(three), 'from two')
      await flows(three, of(two), 'from three')
      for (let count = 0; count < 20; count++) await one.publish('news', Buffer.from(`from one ${count}`))
      await flows(two, of(three), 'later')
      expect(of(one)).toEqual([])
      expect([...of(two), ...of(three)].filter((text) => text.startsWith('from one'))).toEqual([])
      guard.strangers.clear()
      two.recheck()
      await flows(two, of(one), 'welcome')
      await flows(one, of(three), 'thanks')
      expect(of(one).filter((text) => text.startsWith('from'))).toEqual([])
    })

    test('[ROOT-14] whoever becomes a stranger loses its open channels, but not those of the open protocol', async () => {
      const [one, two] = [await started(), await started()]
      const guard = guarded(two)
      await link(one, two)
      const [open, closed] = [
        await one.open(two.nodeId, '/open/1', limit),
        await one.open(two.nodeId, '/closed/1', limit)
      ]
      expect([await exchange(open), await exchange(closed)]).toEqual(['hello', 'hello'])
      guard.strangers.add(one.nodeId)
      two.recheck()
      expect(await inTime('the break', exchange(closed))).toBe('NETWORK_ERROR')
      expect(await inTime('the other', exchange(open))).toBe('hello')
      expect(two.peers()).toEqual([one.nodeId])
    })

    test('[ROOT-14] a banned peer is cut off and refused from either side, and comes back when the ban is lifted', async () => {
      const [one, two] = [await started(), await started()]
      const guard = guarded(two)
      await link(one, two)
      guard.banned.add(one.nodeId)
      two.recheck()
      await until('the cut', () => one.peers().length + two.peers().length === 0)
      const dials = [one.dial(two.addresses()[0] ?? ''), two.dial(one.addresses()[0] ?? '')]
      const results = await inTime('the refusals', Promise.allSettled(dials))
      expect(results.map((result) => (result.status === 'rejected' ? errorCode(result.reason) : 'linked'))).toEqual([
        'NETWORK_ERROR',
        'NETWORK_ERROR'
      ])
      expect([one.peers(), two.peers()]).toEqual([[], []])
      guard.banned.clear()
      two.recheck()
      await link(one, two)
    })

    test('[ROOT-14] a guard stays over stop and start', async () => {
      const [one, two] = [await started(), await started()]
      guarded(two).banned.add(one.nodeId)
      await two.stop()
      await two.start()
      expect(await one.dial(two.addresses()[0] ?? '').catch(errorCode)).toBe('NETWORK_ERROR')
    })
  })
}

async function echo(channel: Channel): Promise<void> {
  for await (const frame of channel.frames()) await channel.send([frame])
}

async function exchange(channel: Channel): Promise<unknown> {
  try {
    await channel.send([Buffer.from('hello')])
    for await (const frame of channel.frames()) return Buffer.from(frame).toString()
    return 'the end'
  } catch (error) {
    return errorCode(error)
  }
}
