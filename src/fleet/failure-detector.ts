import type { Random } from '../core/environment.js'
import type { NodeId } from '../core/ids.js'
import type { ProbeResult } from '../net/network.js'
import { Errands, type ErrandAnswer } from './errands.js'
import { LocalHealth } from './local-health.js'
import { PeerWatch, type Patience } from './peer-watch.js'
import { presenceDefaults, type PresencePreset } from './presence-presets.js'
import type { Topology } from './topology.js'

/** What the failure detector wants to be done. */
export type DetectorAction =
  /** Send a ping; `silentMs` is how long ago its peer was heard. */
  | { readonly type: 'ping'; readonly peer: NodeId; readonly nonce: number; readonly silentMs: number }
  /** Ask a helper about a silent peer. */
  | { readonly type: 'ask'; readonly peer: NodeId; readonly id: number; readonly target: NodeId }
  | ErrandAnswer
  /** Knock at the port of a peer whose link was lost. */
  | { readonly type: 'probe'; readonly peer: NodeId }
  /** Tell the mesh that a peer does not answer. */
  | { readonly type: 'accuse'; readonly peer: NodeId; readonly hard: boolean }

/** What a failure detector needs to know. */
export interface DetectorInit {
  readonly self: NodeId
  readonly preset: PresencePreset
  readonly random: Random
  readonly topology: Pick<Topology, 'roundTripMs' | 'observeRoundTrip'>
  readonly isLinked: (peer: NodeId) => boolean
  /** Linked peers that are likely to hear the target too, the likeliest first. */
  readonly helpersFor: (target: NodeId) => readonly NodeId[]
}

/** Helpers of later enquiries are drawn from this many times as many: one of the likeliest may be ill or lie. */
const helperSpread = 3

/**
 * Decides from silence and lost links whom to accuse: SWIM with Lifeguard's local health, over neighbours that watch each
 * other. Pure: it is told what happened and when, and answers with actions.
 *
 * A watched peer that was not heard for `pingMs` is pinged. No answer after `answerMs`: three helpers are asked, who look for
 * themselves. If none hears it, it is accused, not before `silenceMs` * (1 + health) of silence. A link that was lost without
 * a goodbye is looked into at once if it was watched, and later otherwise, when all its watchers may be gone too.
 */
export class FailureDetector {
  readonly #init: DetectorInit
  readonly #watches = new Map<NodeId, PeerWatch>()
  readonly #health: LocalHealth
  readonly #errands: Errands
  #actions: DetectorAction[] = []
  #counter = 0

  constructor(init: DetectorInit) {
    this.#init = init
    this.#health = new LocalHealth(init.preset.pingMs)
    this.#errands = new Errands((answer) => this.#actions.push(answer))
  }

  /** How much this node doubts itself, 0 to 7. */
  get localHealth(): number {
    return this.#health.value
  }

  /** Whether a peer is watched over a link. */
  isWatched(peer: NodeId): boolean {
    return this.#watches.get(peer)?.isLost === false
  }

  /** What is to be done since the last call. */
  takeActions(): DetectorAction[] {
    const actions = this.#actions
    this.#actions = []
    return actions
  }

  /** Watches exactly these linked peers from now on. */
  watch(peers: readonly NodeId[], now: number): void {
    const chosen = new Set(peers)
    for (const [peer, { isLost }] of this.#watches) if (!isLost && !chosen.has(peer)) this.#watches.delete(peer)
    for (const peer of chosen) {
      if (this.isWatched(peer)) continue
      // Who was never heard gets twice the time: its stream has to be opened first.
      this.#watches.set(peer, new PeerWatch(peer, now + this.#init.preset.silenceMs, now))
    }
  }

  /** Its fate is known, or none of our business any more. */
  forget(peer: NodeId): void {
    this.#watches.delete(peer)
  }

  /** A link closed without a goodbye. Who was watching looks at once, others when the watchers had time to. */
  linkLost(peer: NodeId, now: number): void {
    const { preset, random } = this.#init
    const before = this.#watches.get(peer)
    const laterMs = before === undefined ? preset.silenceMs * (1 + random.float()) : 0
    const lost = new PeerWatch(peer, Math.min(now, before?.aliveAt ?? now), now + laterMs)
    lost.isLost = true
    this.#watches.set(peer, lost)
  }

  /** There is a link again. */
  linkUp(peer: NodeId): void {
    if (!this.isWatched(peer)) this.#watches.delete(peer)
  }

  /** Any bytes came from a peer. */
  heard(peer: NodeId, now: number): void {
    this.#errands.heard(peer)
    const watch = this.#watches.get(peer)
    if (watch === undefined || watch.isLost) return
    watch.heardAt = now
    watch.enquiries = 0
    watch.proveAlive(now, now + this.#pauseMs(peer))
  }

  /** A peer that pinged says how long it has not heard this node, ms. */
  pinged(peer: NodeId, silentMs: number): void {
    const watch = this.#watches.get(peer)
    if (watch !== undefined) watch.deafMs = silentMs
  }

  /** A ping was answered. */
  ponged(peer: NodeId, nonce: number, now: number): void {
    const roundTripMs = this.#watches.get(peer)?.answered(nonce, now)
    if (roundTripMs !== undefined) this.#init.topology.observeRoundTrip(peer, roundTripMs)
  }

  /** What knocking found. A closed port is hard evidence; an open one proves a machine, for the moment. */
  probed(peer: NodeId, result: ProbeResult, now: number): void {
    const watch = this.#watches.get(peer)
    if (watch?.isLost !== true) return
    if (result === 'refused') this.#accuse(watch, true, now)
    else if (result === 'answers') watch.aliveAt = now
  }

  /** A neighbour asks about a target. */
  asked(peer: NodeId, id: number, target: NodeId, now: number): void {
    const watch = this.#watches.get(target)
    const silentMs = watch?.heardAt === undefined ? undefined : now - watch.heardAt
    const { answerMs } = this.#patience(target)
    const isSilent = watch?.unansweredSince !== undefined && now - watch.unansweredSince >= answerMs
    if (isSilent || !this.#init.isLinked(target)) {
      this.#actions.push({ type: 'answer', peer, id, silentMs: isSilent ? silentMs : undefined })
    } else if (this.#errands.begin({ asker: peer, id, target, silentMs, startedAt: now, endsAt: now + answerMs })) {
      if (watch?.unansweredSince === undefined) this.#ping(target, now)
    }
  }

  /** A helper answers: it heard the target so long ago, ms. */
  answered(helper: NodeId, id: number, silentMs: number | undefined, now: number): void {
    const watch = [...this.#watches.values()].find(({ enquiry }) => enquiry?.id === id)
    const enquiry = watch?.enquiry
    if (watch === undefined || enquiry?.pending.delete(helper) !== true) return
    const isHeard = silentMs !== undefined && silentMs <= now - enquiry.startedAt
    if (isHeard && watch.isLost) this.#vouched(watch, now)
    else if (isHeard) watch.proveAlive(now, now + this.#pauseMs(watch.peer))
    else if (enquiry.pending.size === 0) this.#foundSilent(watch, now)
  }

  /** A helper hears a peer whose link was lost. The helper may be lost next, so this node looks again a few times. */
  #vouched(watch: PeerWatch, now: number): void {
    watch.vouches += 1
    if (watch.vouches > presenceDefaults.looksAfterLoss) this.#watches.delete(watch.peer)
    else watch.proveAlive(now, now + this.#init.preset.suspicionMaxMs)
  }

  /** This node was held up, or had to refute an accusation: it may be the one that is ill. */
  doubtSelf(): void {
    this.#health.worsen()
  }

  /**
   * Which way of a link does not work while the peer is alive: `incoming` when only others hear it, `outgoing` when it says
   * that it does not hear this node.
   */
  impairment(peer: NodeId, now: number): 'incoming' | 'outgoing' | undefined {
    const watch = this.#watches.get(peer)
    if (watch?.heardAt === undefined) return undefined
    const { silenceMs } = this.#patience(peer)
    if (now - watch.heardAt < silenceMs) return watch.deafMs >= silenceMs ? 'outgoing' : undefined
    return now - watch.aliveAt < 2 * silenceMs ? 'incoming' : undefined
  }

  /** Does what is due. */
  tick(now: number): void {
    this.#health.tick(now)
    this.#errands.tick(now)
    for (const watch of this.#watches.values()) this.#step(watch, now)
  }

  /** When something is due next; Infinity when nothing is. */
  get nextDeadline(): number {
    const deadlines = Array.from(this.#watches.values(), (watch) => watch.deadline(this.#patience(watch.peer)))
    return Math.min(this.#errands.nextDeadline, ...deadlines)
  }

  #step(watch: PeerWatch, now: number): void {
    if (now >= watch.actAt) this.#act(watch, now)
    if (watch.enquiry !== undefined && now >= watch.enquiry.endsAt) {
      // Not one answered: no wonder, then, that this peer did not either.
      if (watch.enquiry.pending.size === watch.enquiry.asked) this.#health.worsen()
      this.#foundSilent(watch, now)
    }
    const patience = this.#patience(watch.peer)
    if (now >= watch.accuseAt(patience)) this.#accuse(watch, false, now)
    else if (now >= watch.askAt(patience)) this.#enquire(watch, now)
  }

  #act(watch: PeerWatch, now: number): void {
    if (!watch.isLost) return this.#ping(watch.peer, now)
    watch.actAt = Infinity
    watch.unansweredSince ??= now
    this.#actions.push({ type: 'probe', peer: watch.peer })
  }

  #ping(peer: NodeId, now: number): void {
    const watch = this.#watches.get(peer)
    const nonce = this.#counter++
    watch?.sent(nonce, now)
    if (watch !== undefined) watch.actAt = now + this.#patience(peer).answerMs
    this.#actions.push({ type: 'ping', peer, nonce, silentMs: now - (watch?.heardAt ?? now) })
  }

  #enquire(watch: PeerWatch, now: number): void {
    const helpers = this.#drawHelpers(watch)
    const id = this.#counter++
    const endsAt = now + 2 * this.#patience(watch.peer).answerMs
    watch.enquiries += 1
    watch.enquiry = { id, startedAt: now, endsAt, asked: helpers.length, pending: new Set(helpers) }
    for (const helper of helpers) this.#actions.push({ type: 'ask', peer: helper, id, target: watch.peer })
    if (helpers.length === 0) this.#foundSilent(watch, now)
  }

  #drawHelpers({ peer, enquiries }: PeerWatch): NodeId[] {
    const { helpers } = presenceDefaults
    const likeliest = [...this.#init.helpersFor(peer)]
    if (enquiries === 0) return likeliest.slice(0, helpers)
    const pool = likeliest.slice(0, helperSpread * helpers)
    return Array.from({ length: helpers }, () => this.#takeRandom(pool)).flatMap((helper) => helper ?? [])
  }

  #takeRandom(pool: NodeId[]): NodeId | undefined {
    return pool.splice(Math.floor(this.#init.random.float() * pool.length), 1)[0]
  }

  /** Nobody hears it. What follows from that is for the next step to see. */
  #foundSilent(watch: PeerWatch, now: number): void {
    watch.enquiry = undefined
    watch.silentAt = now
  }

  /** An accusation is for the mesh to judge; should the peer stay silent and not be failed, this node looks again later. */
  #accuse(watch: PeerWatch, hard: boolean, now: number): void {
    this.#actions.push({ type: 'accuse', peer: watch.peer, hard })
    watch.startOver(now + this.#init.preset.suspicionMaxMs)
  }

  #patience(peer: NodeId): Patience {
    const { preset, topology } = this.#init
    const silenceMs = Math.max(preset.silenceMs, presenceDefaults.silenceRoundTrips * (topology.roundTripMs(peer) ?? 0))
    return { answerMs: silenceMs / 3, silenceMs: silenceMs * (1 + this.#health.value) }
  }

  /** The node with the smaller id pings; the other expects that, and pings when it is late. Drawn, so that pings spread. */
  #pauseMs(peer: NodeId): number {
    const { self, preset, random } = this.#init
    if (self > peer) return preset.pingMs + preset.answerMs / 2
    return preset.pingMs * (0.8 + 0.2 * random.float())
  }
}
