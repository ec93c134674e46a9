/**
 * Every figure of the libp2p network, with its unit and its reason. Times in milliseconds, sizes in bytes.
 * Stated numbers come from measurements on Node 20 with two cores unless they say otherwise.
 */
export const libp2pDefaults = Object.freeze({
  /**
   * Links a node makes by dialling. Up to this many nodes everyone knows everyone; beyond it a random graph of this degree
   * is connected with near certainty and two hops wide (400 nodes: 64 * 63 > 400).
   */
  maxDialledLinks: 64,
  /**
   * Links that a node makes beyond that to peers that it lost. Parts of a mesh of more than 65 nodes fill up while they are
   * apart, and nobody would dial across after the heal: this makes 8 * 66 dials from each part to the other.
   */
  maxRegainedLinks: 8,
  /** Links in all, dialled and accepted: 64 of our own, and room for a whole mesh of 400 that dials one well-known node. */
  maxLinks: 512,
  /** How long a dial may take to one address: a LAN answers in 1 ms, a bad uplink in 1 s, TCP repeats its SYN after 1 s and 3 s. */
  addressDialTimeoutMs: 4_000,
  /** How long a dial may take over all addresses. */
  dialTimeoutMs: 8_000,
  /** How long a knock at a peer's port may take: one lost SYN would take 1 s, and who asks has a second witness. */
  probeMs: 1_000,
  /** Dials at once; each costs a key exchange of about 2 ms of CPU. */
  maxParallelDials: 16,
  /** How long an accepted connection may take to prove that it knows the secret and who it is; silent sockets go after this. */
  inboundUpgradeTimeoutMs: 3_000,
  /** Accepted connections that may be in that state at once. */
  maxPendingInbound: 200,
  /** Accepted connections a second from one host: 50 * 3 s = 150 silent sockets do not fill the 200 places of all. */
  inboundPerHostPerSecond: 50,
  /** How long a peer may take to agree on a protocol: one round trip. gossipsub opens its streams one after the other meanwhile. */
  negotiationTimeoutMs: 5_000,
  /** Streams of one protocol on one link, each way. */
  maxStreamsPerProtocol: 256,
  /** yamux window of one stream. pnet 3.0.27 aborts when yamux frames grow beyond this. */
  streamWindowBytes: 256 * 1024,
  /** Unsent bytes above which `send` waits, and unread bytes above which the peer is held back: one window each. */
  channelHighWaterBytes: 256 * 1024,
  /** How long `close` waits for a slow peer to take what was sent, and then for it to close too. */
  channelCloseTimeoutMs: 30_000,
  /** yamux ping on every link: 30 bytes each way. It keeps an idle link audible. */
  keepAliveMs: 10_000,
  /** How often each link is checked for bytes that came in. */
  livenessCheckMs: 10_000,
  /** Checks in a row without a byte after which a link is cut: at least two pings were then missed; 30 to 50 s of silence. */
  silentChecksAllowed: 3,
  /** A link younger than this that meets another to the same peer: both sides dialled at once. */
  simultaneousDialMs: 5_000,
  /**
   * A link older than this must carry gossip streams both ways, or it is renewed: gossipsub opens one each way and never again.
   * Opening them takes about five round trips.
   */
  gossipGraceMs: 10_000,
  /** How long a dial that lost against the peer's own waits for that one to come up. */
  rivalDialMs: 1_000,
  /** How long a peer that was hung up on is neither dialled nor accepted. */
  hangUpHoldMs: 60_000,
  /** First wait before a lost peer is dialled again; doubles each time. */
  redialBaseMs: 1_000,
  /** Longest wait: with the jitter of 25 %, a healed cut is noticed in 38 s at most. */
  redialMaxMs: 30_000,
  /** A discovered peer is dialled after a random part of this, so that a newcomer is not dialled by all in one moment. */
  discoveryDelayMs: 200,
  /**
   * How much later the node with the larger id dials, so that both dialling at once is rare: a handshake takes 10 ms, but
   * seconds while a whole fleet starts on one machine.
   */
  yieldMs: 2_000,
  /** Peers not seen for this long are forgotten; configured ones never. */
  forgetAfterMs: 24 * 60 * 60 * 1000,
  /** Peers remembered for redialling: 400 and room for those that left. */
  maxKnownPeers: 1_024,
  /** Addresses remembered of one peer. */
  maxAddressesPerPeer: 8,
  /** Longest wait between discovery queries while no link is up. */
  lonelyQueryMs: 10_000,
  /** Shortest wait between discovery queries once a link is up. */
  restQueryMs: 60_000,
  /**
   * Wait per known peer between discovery queries. Every query is answered by all, to all: N nodes that ask every
   * N * 10 s cost each node N / 10 answers of 350 bytes a second, instead of N * N / 60.
   */
  restQueryPerPeerMs: 10_000,
  /** gossipsub's heartbeat. A message that a mesh link lost is offered again within one. */
  gossipHeartbeatMs: 1_000,
  /**
   * Peers a topic's mesh may have before it is cut back to 6: as many as there are links. gossipsub's 12 turns away peers whose only
   * links lead to well-known nodes, and those then hear each message a heartbeat late. A node asks for 6, so only such nodes grow.
   */
  gossipMeshMax: 512,
  /** Most that one gossip packet may have: 15 messages of the largest size. gossipsub has no limit of its own. */
  maxGossipPacketBytes: 15 * 256 * 1024,
  /** Gossip that waits for a peer that does not read; then its stream is cut. */
  maxGossipBacklogBytes: 8 * 1024 * 1024,
  /** Rejected messages of one peer that are put down to a difference of versions; eight more and its gossip is no longer heard. */
  toleratedRejects: 4,
  /** Half-life of the blame for a rejected message. */
  blameHalfLifeMs: 10 * 60_000
})

/** The knobs of the libp2p network. */
export type Libp2pKnobs = { readonly [Name in keyof typeof libp2pDefaults]: number }
