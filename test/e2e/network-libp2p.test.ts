import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, expect, test } from 'vitest'
import { every, systemEnvironment } from '../../src/core/environment.js'
import { errorCode } from '../../src/core/errors.js'
import { ephemeralKeyPair } from '../../src/identity/keypair.js'
import type { Libp2pNetwork, Libp2pNetworkInit } from '../../src/net/libp2p-network.js'
import type { Channel, PeerEvent } from '../../src/net/network.js'
import { makeLibp2pNetwork, testMesh } from '../support/libp2p.js'
import { inTime, until } from '../support/until.js'

const mesh = testMesh()
let networks: Libp2pNetwork[] = []
let sockets: Socket[] = []

afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await Promise.all(networks.map((network) => network.stop()))
  networks = []
  sockets = []
})

async function start(init: Partial<Libp2pNetworkInit> = {}, keys = mesh): Promise<Libp2pNetwork> {
  const network = await makeLibp2pNetwork(keys, init)
  networks.push(network)
  await network.start()
  return network
}

const addressOf = (network: Libp2pNetwork): string => network.addresses()[0] ?? ''
const portOf = (network: Libp2pNetwork): number => Number(/\/tcp\/(\d+)/.exec(addressOf(network))?.[1])
const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'nothing was thrown',
    (error: unknown) => errorCode(error) ?? error
  )

test('[NET-2] three nodes on loopback find each other by mDNS, each link is told once, and gossip flows', async () => {
  const keys = testMesh()
  const events: PeerEvent[] = []
  const heard = new Set<string>()
  const all = await Promise.all([0, 1, 2].map(() => makeLibp2pNetwork(keys, { discovery: true })))
  networks.push(...all)
  for (const network of all) {
    network.onPeer((event) => events.push(event))
    network.subscribe('news', ({ data }) => {
      heard.add(`${network.nodeId} ${Buffer.from(data).toString()}`)
      return 'accept'
    })
  }
  await Promise.all(all.map((network) => network.start()))
  await until('the mesh', () => all.every((network) => network.peers().length === 2))
  let count = 0
  await until('the gossip', async () => {
    await Promise.all(all.map((network, index) => network.publish('news', Buffer.from(`from ${index} ${count++}`))))
    return all.every(({ nodeId }) => [...heard].filter((line) => line.startsWith(nodeId)).length >= 2)
  })
  expect(events.map(({ type }) => type)).toEqual(Array.from({ length: 6 }, () => 'connected'))
})

test('[NET-2] nodes of two meshes do not find each other', async () => {
  const [one, two] = [testMesh(), testMesh()]
  const a = await start({ discovery: true }, one)
  const stranger = await start({ discovery: true }, two)
  const b = await start({ discovery: true }, one)
  await until('the link inside the mesh', () => a.peers().includes(b.nodeId) && b.peers().includes(a.nodeId))
  expect([a.peers(), b.peers(), stranger.peers()]).toEqual([[b.nodeId], [a.nodeId], []])
})

test('[NET-1] a wrong secret is refused within seconds, both ways, and honest peers still join', async () => {
  const node = await start()
  const stranger = await start({}, testMesh())
  const refusals = [codeOf(stranger.dial(addressOf(node))), codeOf(node.dial(addressOf(stranger)))]
  expect(await inTime('the refusals', Promise.all(refusals), 9000)).toEqual(['NETWORK_ERROR', 'NETWORK_ERROR'])
  const friend = await start()
  expect(await friend.dial(addressOf(node))).toBe(node.nodeId)
  expect(node.peers()).toEqual([friend.nodeId])
})

test('an address that belongs to someone else is refused', async () => {
  const [node, other, dialler] = [await start(), await start(), await start()]
  const wrong = addressOf(node).replace(node.nodeId, other.nodeId)
  expect(await codeOf(dialler.dial(wrong))).toBe('NETWORK_ERROR')
})

test('a dial without an id to a peer that has a link finds that link', async () => {
  const [one, two] = [await start(), await start()]
  await one.dial(addressOf(two))
  const events: PeerEvent[] = []
  one.onPeer((event) => events.push(event))
  two.onPeer((event) => events.push(event))
  for (const [from, to] of [
    [one, two],
    [two, one]
  ] as const) {
    expect(await from.dial(`/ip4/127.0.0.1/tcp/${portOf(to)}`)).toBe(to.nodeId)
  }
  expect(events).toEqual([])
})

test('[NET-1] twenty silent sockets a second do not lock out an honest dialler, and are dropped', async () => {
  const node = await start()
  const openOne = (): void => {
    sockets.push(
      connect(portOf(node), '127.0.0.1')
        .on('error', () => {})
        .resume()
    )
  }
  const attack = every(systemEnvironment, 50, openOne)
  // With libp2p's own limits ten of them lock the node for ten seconds.
  await until('the attack to be under way', () => sockets.length >= 60)
  const honest = await start()
  expect(await inTime('the honest node to join', honest.dial(addressOf(node)), 2500)).toBe(node.nodeId)
  attack.cancel()
  await until('the silent sockets to be dropped', () => sockets.every((socket) => socket.closed), 5000)
})

test('a port in use is named; the node can start elsewhere after that, and nothing is left', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const keyPair = await ephemeralKeyPair(systemEnvironment.random)
  const listen = [`/ip4/127.0.0.1/tcp/${port}`]
  const blocked = await makeLibp2pNetwork(mesh, { keyPair, listen, discovery: true })
  await expect(blocked.start()).rejects.toMatchObject({
    code: 'PORT_IN_USE',
    details: { address: `127.0.0.1:${port}` }
  })
  server.close()
  await once(server, 'close')
  networks.push(blocked)
  await blocked.start()
  expect(portOf(blocked)).toBe(port)
})

test.each([
  ['listen', { listen: ['127.0.0.1:80'] }],
  ['peers', { peers: ['/ip4/1.2.3.4'] }]
])('a malformed address in %s is an error of the caller', async (_, init) => {
  expect(await codeOf(start(init))).toBe('INVALID_REQUEST')
})

test('[NET-3] a configured peer that starts later is found, and found again after its restart', async () => {
  const later = await start()
  const address = addressOf(later)
  await later.stop()
  const keeper = await start({
    peers: [address.replace(/\/p2p\/.*/, '')],
    knobs: { redialBaseMs: 50, redialMaxMs: 200 }
  })
  const again = await makeLibp2pNetwork(mesh, { listen: [address.replace(/\/p2p\/.*/, '')] })
  networks.push(again)
  for (let turn = 0; turn < 2; turn++) {
    await again.start()
    await until('the link', () => keeper.peers().includes(again.nodeId))
    await again.stop()
    await until('its loss', () => keeper.peers().length === 0)
  }
})

test('[NET-4] a link on which nothing is heard is cut, one that is only idle is not', async () => {
  const knobs = { keepAliveMs: 100, livenessCheckMs: 100 }
  const [one, two] = [await start({ knobs }), await start({ knobs })]
  const relay = await frozenRelay(portOf(two))
  const three = await start({ knobs })
  await one.dial(addressOf(two))
  await three.dial(`/ip4/127.0.0.1/tcp/${relay.port}/p2p/${two.nodeId}`)
  relay.freeze()
  await until('the frozen link to be cut', () => three.peers().length === 0)
  await until('the other end to notice too', () => !two.peers().includes(three.nodeId))
  expect(one.peers()).toEqual([two.nodeId])
  relay.close()
})

test('a reader that does not pull bounds the memory of both: 200 MB do not fit in 10', async () => {
  const [sender, reader] = [await start(), await start()]
  const accepted = new Promise<Channel>((resolve) => {
    const hold = async (channel: Channel): Promise<void> => {
      resolve(channel)
      await new Promise(() => {})
    }
    reader.serve('/bulk/1', hold, { maxFrameBytes: 2 ** 20 })
  })
  await sender.dial(addressOf(reader))
  const channel = await sender.open(reader.nodeId, '/bulk/1', { maxFrameBytes: 2 ** 20 })
  const before = await heldBytes()
  let sent = 0
  const send = async (): Promise<void> => {
    for (; sent < 200; sent++) await channel.send([Buffer.allocUnsafe(2 ** 20)])
    await channel.close()
  }
  const sending = send()
  sending.catch(() => {})
  let last = -1
  let same = 0
  await until('the sender to stand still', () => {
    same = sent === last ? same + 1 : 0
    last = sent
    return same > 60
  })
  expect(sent).toBeLessThan(5)
  expect((await heldBytes()) - before).toBeLessThan(10 * 2 ** 20)
  let received = 0
  let most = 0
  for await (const frame of (await accepted).frames()) {
    received += frame.byteLength
    if (received % (20 * 2 ** 20) === 0) most = Math.max(most, (await heldBytes()) - before)
  }
  await sending
  await channel.close()
  expect(received).toBe(200 * 2 ** 20)
  expect(most).toBeLessThan(10 * 2 ** 20)
}, 60_000)

test('sixteen nodes behind one address hear each other: being neighbours is no offence', async () => {
  const keys = testMesh()
  const center = await start({}, keys)
  const others = await Promise.all(Array.from({ length: 15 }, () => start({}, keys)))
  const heard = new Map([center, ...others].map((network) => [network.nodeId, new Set<string>()]))
  for (const network of [center, ...others]) {
    network.subscribe('news', ({ data }) => {
      heard.get(network.nodeId)?.add(Buffer.from(data).toString())
      return 'accept'
    })
  }
  for (const network of others) await network.dial(addressOf(center))
  let turn = 0
  const spread = async (): Promise<boolean> => {
    turn++
    await center.publish('news', Buffer.from(`center ${turn}`))
    // Other bytes each turn: a message that found no subscriber yet counts as sent, and the same one is not sent again.
    await Promise.all(others.map((network, index) => network.publish('news', Buffer.from(`other ${index} ${turn}`))))
    const ofCenter = others.every(({ nodeId }) =>
      [...(heard.get(nodeId) ?? [])].some((text) => text.startsWith('center'))
    )
    const atCenter = [...(heard.get(center.nodeId) ?? [])].map((text) => text.split(' ')[1])
    return ofCenter && new Set(atCenter).size === others.length
  }
  await until('everyone to be heard', spread, 20_000)
}, 40_000)

test('[NET-9] after stop the process ends by itself, and nothing was printed', async () => {
  const script = fileURLToPath(new URL('../support/start-and-stop.mjs', import.meta.url))
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const [code] = (await inTime('the process to end', once(child, 'close'), 20_000)) as [number]
  expect([code, output]).toEqual([0, ''])
})

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** Bytes of buffers that are alive. A buffer is freed some turns after its owner was collected. */
async function heldBytes(): Promise<number> {
  for (let turn = 0; turn < 3; turn++) {
    collectGarbage()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return process.memoryUsage().arrayBuffers
}

/** A TCP relay that can stop to pass anything on without closing, as a cut cable does. */
async function frozenRelay(target: number): Promise<{ port: number; freeze: () => void; close: () => void }> {
  let frozen = false
  const server = createServer((inbound) => {
    const outbound = connect(target, '127.0.0.1')
    sockets.push(inbound, outbound)
    for (const [from, to] of [
      [inbound, outbound],
      [outbound, inbound]
    ] as const) {
      from.on('error', () => {})
      from.on('data', (chunk: Buffer) => !frozen && to.write(chunk))
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return {
    port: typeof address === 'object' ? (address?.port ?? 0) : 0,
    freeze: () => (frozen = true),
    close: () => server.close()
  }
}
