/** Times and counts of presence. All times in ms. */
export interface PresencePreset {
  /** Peers that a node watches by its own choice; others may choose it too. Even: half of them on each side of the ring. */
  readonly watchLinks: number
  /** A watched peer that was not heard for this long is pinged. */
  readonly pingMs: number
  /** Nobody is accused who was heard within this time; more when the round trip is long or this node is slow itself. */
  readonly silenceMs: number
  /** An answer that takes longer than this starts the indirect check, and helpers look for this long. */
  readonly answerMs: number
  /** Between an accusation that is backed by two more accusers and the verdict: the time to refute it. */
  readonly suspicionMinMs: number
  /** The same while packets are being lost. */
  readonly suspicionLossyMs: number
  /** The same when nobody else accuses. */
  readonly suspicionMaxMs: number
  /** Between the hard evidence of two accusers and the verdict. */
  readonly hardMs: number
}

interface Basis {
  readonly watchLinks: number
  readonly pingMs: number
  readonly silenceMs: number
}

/**
 * All times follow from the ping period P and the silence S. A silent cut is known everywhere after at most
 * P + 4/3 S and the time of a gossip message: P until the first ping without answer, S/3 until helpers are asked, S/3 that
 * they look, 2/3 S of suspicion (the helpers accuse meanwhile). A node that stands still for less than S is failed by nobody:
 * 2/3 S pass from the first ping without answer to the accusation, 2/3 S more to the verdict.
 */
function presetOf({ watchLinks, pingMs, silenceMs }: Basis): PresencePreset {
  return Object.freeze({
    watchLinks,
    pingMs,
    silenceMs,
    answerMs: silenceMs / 3,
    suspicionMinMs: (silenceMs * 2) / 3,
    suspicionLossyMs: (silenceMs * 4) / 3,
    suspicionMaxMs: (silenceMs * 8) / 3,
    hardMs: silenceMs / 6
  })
}

/** Name of a preset. */
export type PresencePresetName = 'lan' | 'wan' | 'lowLatency'

/** The presets, by the kind of network. */
export const presencePresets: Readonly<Record<PresencePresetName, PresencePreset>> = Object.freeze({
  /** One site. 2.5 s + 4/3 * 3 s: a silent cut is known in 6.5 s; idle, 4 links * 2 frames * 51 bytes (17, and 34 of framing, yamux and noise) / 2.25 s = 181 B/s. */
  lan: presetOf({ watchLinks: 4, pingMs: 2_500, silenceMs: 3_000 }),
  /** Sites over thin or lossy uplinks: heartbeat 10 s, and 10 s + 4/3 * 15 s = 30 s, the usual pair for high latency; 45 B/s. */
  wan: presetOf({ watchLinks: 4, pingMs: 10_000, silenceMs: 15_000 }),
  /** Machines of one rack: heartbeat 500 ms, 500 ms + 4/3 * 1.125 s = 2 s, the usual pair for low latency; 1360 B/s. */
  lowLatency: presetOf({ watchLinks: 6, pingMs: 500, silenceMs: 1_125 })
})

/** Of presence on every network. */
export const presenceDefaults = Object.freeze({
  /** Silence is also allowed for this many round trips. */
  silenceRoundTrips: 4,
  /** How often a peer is looked for again whose link was lost and that others hear: the others may be lost within seconds. */
  looksAfterLoss: 3,
  /** Neighbours that are asked before a silent peer is accused; SWIM's usual k. */
  helpers: 3,
  /** Highest local health: a node in trouble waits up to (1 + 7) times as long before it accuses. Lifeguard has 8. */
  maxLocalHealth: 7,
  /** Further accusers with which suspicion is shortest; Lifeguard's K. */
  confirmations: 2,
  /** A timer later than this was held up, and so was the reading of sockets, ms. Garbage collection takes up to 100. */
  lateMs: 400,
  /** After that the sockets get this long to be read before anything is judged, ms. */
  readingMs: 200,
  /** Nodes remembered: the design size of one mesh. */
  maxNodes: 10_000,
  /** Accusers remembered of one node: all that choose it on a ring with full views, and some of partial ones. */
  maxAccusers: 8
})
