import '../core/polyfill.js'
import { createHash } from 'node:crypto'
import { gossipsub, StrictNoSign, type GossipSub, type GossipsubOpts, type Message } from '@chainsafe/libp2p-gossipsub'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { privateKeyFromRaw } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import type {
  MessageStream,
  SecureConnectionOptions,
  ComponentLogger,
  Logger as Libp2pLogger,
  PeerDiscovery,
  PeerId,
  PeerInfo
} from '@libp2p/interface'
import { mdns } from '@libp2p/mdns'
import { preSharedKey } from '@libp2p/pnet'
import { tcp } from '@libp2p/tcp'
import type { Multiaddr } from '@multiformats/multiaddr'
import { createLibp2p, type ConnectionManagerInit, type Libp2p } from 'libp2p'
import type { Random } from '../core/environment.js'
import type { KeyPair } from '../identity/keypair.js'
import type { MeshKeys } from '../identity/mesh-secret.js'
import type { Libp2pKnobs } from './libp2p-defaults.js'
import type { TrafficMeter } from './traffic-meter.js'

/** Decides about a connection whose peer has proved who it is, before (`secured`) and after (`upgraded`) the muxer is agreed. */
export type Refusal = (
  peer: PeerId,
  direction: 'inbound' | 'outbound',
  stage: 'secured' | 'upgraded',
  address: Multiaddr
) => boolean

/** What a libp2p node is made of. */
export interface NodeInit {
  readonly keyPair: KeyPair
  readonly meshKeys: MeshKeys
  /** Multiaddrs to listen on. */
  readonly listen: readonly string[]
  /** Whether to announce and look for peers on the local network. */
  readonly discovery: boolean
  readonly random: Random
  readonly knobs: Libp2pKnobs
  readonly meter: TrafficMeter
  /** Whether to refuse a connection whose peer is known by now. */
  readonly refuses: Refusal
  /** A peer answered on the local network. A hint: anyone there can say so. */
  readonly onDiscovered: (peer: PeerInfo) => void
  /** How well a peer behaved in gossip: 0, or less for each message of its that was rejected. */
  readonly gossipScore: (peer: string) => number
}

/** A libp2p node that has not been started. */
export interface BuiltNode {
  readonly libp2p: Libp2p<{ readonly pubsub: GossipSub }>
  /** Asks everyone on the local network who is there; their answers come to `onDiscovered`. */
  readonly queryLocalNetwork: () => void
  /** After start: tells libp2p that the addresses it listens on are its own, also those that are not private. */
  readonly confirmAddresses: () => void
}

/** Longest period that a timer can have, 24 days: our own schedule asks instead. */
const neverMs = 2 ** 31 - 1
/** Bytes of a gossip message id: 2^80 messages until two collide. */
const messageIdBytes = 20

/** Puts libp2p together; `stack.md` has the reason of each setting that differs from its default. */
export async function buildNode(init: NodeInit): Promise<BuiltNode> {
  const { keyPair, knobs, meter } = init
  const local = localDiscovery(init)
  let confirmAddresses = (): void => {}
  const protector = preSharedKey({ psk: pskFile(init.meshKeys.networkKey) })
  const libp2p = await createLibp2p({
    start: false,
    privateKey: privateKeyFromRaw(Buffer.concat([keyPair.seed, keyPair.publicKey])),
    logger: silentComponentLogger,
    addresses: { listen: [...init.listen] },
    transports: [
      (components) => {
        const { addressManager, transportManager } = components
        confirmAddresses = () => {
          for (const address of transportManager.getAddrs())
            addressManager.confirmObservedAddr(address, { type: 'transport' })
        }
        return tcp()(components)
      }
    ],
    connectionEncrypters: [noiseWithoutShortcut],
    connectionProtector: () => meter.around(protector()),
    streamMuxers: [
      yamux({
        enableKeepAlive: true,
        keepAliveInterval: knobs.keepAliveMs,
        maxEarlyStreams: 64,
        streamOptions: {
          initialStreamWindowSize: knobs.streamWindowBytes,
          maxStreamWindowSize: knobs.streamWindowBytes
        }
      })
    ],
    connectionGater: {
      denyDialMultiaddr: () => false,
      denyInboundEncryptedConnection: (peer, { remoteAddr }) => init.refuses(peer, 'inbound', 'secured', remoteAddr),
      denyOutboundEncryptedConnection: (peer, { remoteAddr }) => init.refuses(peer, 'outbound', 'secured', remoteAddr),
      denyInboundUpgradedConnection: (peer, { remoteAddr }) => init.refuses(peer, 'inbound', 'upgraded', remoteAddr),
      denyOutboundUpgradedConnection: (peer, { remoteAddr }) => init.refuses(peer, 'outbound', 'upgraded', remoteAddr)
    },
    connectionManager: connectionLimits(knobs),
    connectionMonitor: { enabled: false },
    peerDiscovery: init.discovery ? [local.component] : [],
    services: { identify: identify(), pubsub: gossipsub(gossipOptions(init)) }
  })
  return { libp2p, queryLocalNetwork: local.query, confirmAddresses: () => confirmAddresses() }
}

/**
 * noise can agree on the muxer within its handshake. The dialler then takes the connection for made before the other side has
 * decided whether to refuse it; without the shortcut it waits for that, one round trip more.
 */
const noiseWithoutShortcut: ReturnType<typeof noise> = (components) => {
  const encrypter = noise()(components)
  const secureOutbound = encrypter.secureOutbound.bind(encrypter)
  encrypter.secureOutbound = (stream: MessageStream, options?: SecureConnectionOptions) =>
    secureOutbound(stream, { ...options, skipStreamMuxerNegotiation: true })
  return encrypter
}

function connectionLimits(knobs: Libp2pKnobs): ConnectionManagerInit {
  return {
    maxConnections: knobs.maxLinks,
    maxParallelDials: knobs.maxParallelDials,
    dialTimeout: knobs.dialTimeoutMs,
    addressDialTimeout: knobs.addressDialTimeoutMs,
    inboundUpgradeTimeout: knobs.inboundUpgradeTimeoutMs,
    maxIncomingPendingConnections: knobs.maxPendingInbound,
    inboundConnectionThreshold: knobs.inboundPerHostPerSecond,
    inboundStreamProtocolNegotiationTimeout: knobs.negotiationTimeoutMs,
    outboundStreamProtocolNegotiationTimeout: knobs.negotiationTimeoutMs,
    reconnectRetries: 0
  }
}

function gossipOptions(init: NodeInit): Partial<GossipsubOpts> {
  const { knobs } = init
  return {
    globalSignaturePolicy: StrictNoSign,
    msgIdFn: (message: Message) => messageId(message.topic, message.data),
    emitSelf: false,
    allowPublishToZeroTopicPeers: true,
    ignoreDuplicatePublishError: true,
    fallbackToFloodsub: false,
    // A message goes to the peers of the topic's own mesh, not to all of up to 64 links; heartbeats mend gaps.
    floodPublish: false,
    Dhi: knobs.gossipMeshMax,
    batchPublish: true,
    tagMeshPeers: false,
    heartbeatInterval: knobs.gossipHeartbeatMs,
    maxInboundDataLength: knobs.maxGossipPacketBytes,
    maxOutboundBufferSize: knobs.maxGossipBacklogBytes,
    maxInboundStreams: 8,
    maxOutboundStreams: 8,
    scoreParams: {
      // Many nodes behind one address, a test machine or a site behind NAT, are no attack here: they know the secret.
      IPColocationFactorWeight: 0,
      appSpecificScore: init.gossipScore,
      appSpecificWeight: 10
    }
  }
}

/** The same bytes on the same topic are the same message, whoever sends them. */
function messageId(topic: string, data: Uint8Array): Uint8Array {
  return createHash('sha256').update(`${topic}\0`).update(data).digest().subarray(0, messageIdBytes)
}

/** mDNS whose own schedule is off: it asks once at start, and then whenever `query` is called. */
function localDiscovery(init: NodeInit): { component: ReturnType<typeof mdns>; query: () => void } {
  const serviceTag = init.meshKeys.discoveryTag
  const peerName = Buffer.from(init.random.bytes(16)).toString('hex')
  let querier: Querier | undefined
  const component: ReturnType<typeof mdns> = (components) => {
    const discovery: PeerDiscovery = mdns({ serviceTag, peerName, interval: neverMs })(components)
    // Its own event comes with each answer; libp2p's `peer:discovery` only with the first of each peer.
    discovery.addEventListener('peer', (event) => init.onDiscovered(event.detail))
    querier = isQuerier(discovery) ? discovery : undefined
    return discovery
  }
  return { component, query: () => querier?.mdns?.query({ questions: [{ name: serviceTag, type: 'PTR' }] }) }
}

/** The socket of the mDNS component: a public field of a class that its package does not export. */
interface Querier {
  readonly mdns?: { query(packet: { questions: { name: string; type: 'PTR' }[] }): void }
}

function isQuerier(discovery: object): discovery is Querier {
  return 'start' in discovery
}

function pskFile(networkKey: Uint8Array): Uint8Array {
  return Buffer.from(`/key/swarm/psk/1.0.0/\n/base16/\n${Buffer.from(networkKey).toString('hex')}`)
}

/** libp2p's default logger prints to stderr as the DEBUG variable says; a library prints nothing. */
const silentComponentLogger: ComponentLogger = { forComponent: () => silentLibp2pLogger() }

function silentLibp2pLogger(): Libp2pLogger {
  const drop = (): void => {}
  return Object.assign(drop, { error: drop, trace: drop, newScope: silentLibp2pLogger, enabled: false })
}
