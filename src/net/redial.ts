import { jittered, type Environment, type Timer } from '../core/environment.js'
import { messageOf } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { Logger } from '../core/logger.js'
import type { Libp2pKnobs } from './libp2p-defaults.js'

/** What redialling needs of the network. */
export interface RedialInit {
  readonly self: NodeId
  readonly environment: Environment
  readonly logger: Logger
  readonly knobs: Libp2pKnobs
  /** Dials one peer at any of its addresses; resolves to who answered. */
  readonly dial: (addresses: readonly string[]) => Promise<NodeId>
  readonly isLinked: (peer: NodeId) => boolean
  /** Whether this peer must be left alone for now. */
  readonly isHeld: (peer: NodeId) => boolean
  readonly linkCount: () => number
}

/** A peer that we want a link to. Its id is not known while it is only a configured address that never answered. */
interface Target {
  readonly key: string
  readonly configured: boolean
  peer: NodeId | undefined
  /** The latest last. */
  addresses: string[]
  failures: number
  seenAtMs: number
  dialling: boolean
  /** There was a link, and it broke. */
  lost: boolean
  timer: Timer | undefined
}

/**
 * Dials peers again until they answer. libp2p itself gives up about a minute after a link broke, and an mDNS answer of a peer
 * that it knows raises no discovery event. This one gives up after a day, and never on a configured address.
 */
export class Redialer {
  readonly #init: RedialInit
  readonly #targets = new Map<string, Target>()
  /** Lost peers that were dialled although there were enough links. */
  readonly #regained = new Set<NodeId>()
  #running = false

  constructor(init: RedialInit) {
    this.#init = init
  }

  /** Peers that are known, linked or not. */
  get size(): number {
    return this.#targets.size
  }

  /** Begins to dial what is configured. */
  start(): void {
    this.#running = true
    for (const target of this.#targets.values()) this.#schedule(target, 0)
  }

  /** Stops dialling; forgets what was not configured. */
  stop(): void {
    this.#running = false
    for (const target of this.#targets.values()) {
      target.timer?.cancel()
      target.timer = undefined
      target.failures = 0
      if (!target.configured) this.#targets.delete(target.key)
    }
  }

  /** Keeps a link to whoever answers at this address, for good. */
  keep(address: string, peer?: NodeId): void {
    const known = this.#targets.get(address)
    const target = known ?? this.#add(address, { configured: true, peer, addresses: [address] })
    target.peer = peer ?? target.peer
    if (this.#running && known === undefined) this.#schedule(target, 0)
  }

  /** Someone told where a peer listens. It is dialled soon when there is no link to it. */
  learn(peer: NodeId, addresses: readonly string[]): void {
    if (addresses.length === 0) return
    const target = this.#targets.get(peer) ?? this.#add(peer, { configured: false, peer, addresses: [] })
    const kept = target.addresses.filter((address) => !addresses.includes(address))
    target.addresses = [...kept, ...addresses].slice(-this.#init.knobs.maxAddressesPerPeer)
    this.#sawAlive(target)
  }

  /** Where a peer was last known to listen. */
  addressesOf(peer: NodeId): readonly string[] {
    return this.#targetsOf(peer).flatMap((target) => target.addresses)
  }

  /** A link broke: dial soon. */
  lost(peer: NodeId): void {
    for (const target of this.#targetsOf(peer)) {
      target.lost = true
      target.seenAtMs = this.#init.environment.clock.monotonic()
      target.failures = 0
      this.#schedule(
        target,
        jittered(this.#init.environment.random, this.#init.knobs.redialBaseMs) + this.#yieldMs(peer)
      )
    }
  }

  #targetsOf(peer: NodeId): Target[] {
    return [...this.#targets.values()].filter((target) => target.peer === peer)
  }

  #add(key: string, fields: Pick<Target, 'configured' | 'peer' | 'addresses'>): Target {
    this.#makeRoom()
    const seenAtMs = this.#init.environment.clock.monotonic()
    const target: Target = { key, ...fields, failures: 0, seenAtMs, dialling: false, lost: false, timer: undefined }
    this.#targets.set(key, target)
    return target
  }

  #makeRoom(): void {
    if (this.#targets.size < this.#init.knobs.maxKnownPeers) return
    const forgettable = [...this.#targets.values()].filter((target) => !target.configured && !this.#isLinked(target))
    const oldest = forgettable.sort((a, b) => a.seenAtMs - b.seenAtMs)[0]
    if (oldest !== undefined) this.#forget(oldest)
  }

  #forget(target: Target): void {
    target.timer?.cancel()
    this.#targets.delete(target.key)
  }

  /** A sign of life ends the backoff, but a peer that announces itself and does not answer is not dialled more often for it. */
  #sawAlive(target: Target): void {
    const now = this.#init.environment.clock.monotonic()
    const sinceMs = now - target.seenAtMs
    target.seenAtMs = now
    const fresh = target.timer === undefined
    if (!fresh && sinceMs < this.#init.knobs.lonelyQueryMs / 2) return
    const spreadMs = this.#init.environment.random.float() * this.#init.knobs.discoveryDelayMs
    this.#schedule(target, spreadMs + this.#yieldMs(target.peer))
  }

  /** Both sides learn of each other, and of a loss, at the same moment: the one with the smaller id dials first. */
  #yieldMs(peer: NodeId | undefined): number {
    return peer !== undefined && this.#init.self > peer ? this.#init.knobs.yieldMs : 0
  }

  #isLinked(target: Target): boolean {
    return target.peer !== undefined && this.#init.isLinked(target.peer)
  }

  #schedule(target: Target, delayMs: number): void {
    target.timer?.cancel()
    target.timer = undefined
    if (!this.#running || target.dialling || this.#isLinked(target)) return
    target.timer = this.#init.environment.clock.setTimer(delayMs, () => {
      target.timer = undefined
      void this.#attempt(target)
    })
  }

  async #attempt(target: Target): Promise<void> {
    if (this.#isLinked(target)) return
    if (this.#isExpired(target)) return this.#forget(target)
    if (!this.#mayDial(target)) return this.#schedule(target, this.#backoffMs(this.#init.knobs.redialMaxMs))
    target.dialling = true
    if (target.peer !== undefined && this.#hasEnough(target)) this.#regained.add(target.peer)
    try {
      target.peer = await this.#init.dial([...target.addresses].reverse())
      target.failures = 0
      target.lost = false
    } catch (error) {
      target.failures++
      this.#init.logger.debug(`no answer from ${target.key}: ${messageOf(error)}`)
    } finally {
      target.dialling = false
    }
    // Also after success: a link that broke at once was not scheduled while we dialled.
    this.#schedule(target, this.#backoffMs(this.#init.knobs.redialBaseMs * 2 ** Math.min(target.failures, 10)))
  }

  #isExpired(target: Target): boolean {
    const unseenMs = this.#init.environment.clock.monotonic() - target.seenAtMs
    return !target.configured && unseenMs > this.#init.knobs.forgetAfterMs
  }

  /** Beyond a certain number of links others may dial us; configured peers are always wanted, and a few lost ones. */
  #mayDial(target: Target): boolean {
    if (target.peer !== undefined && this.#init.isHeld(target.peer)) return false
    return !this.#hasEnough(target) || (target.lost && this.#mayRegain())
  }

  #hasEnough({ configured }: Target): boolean {
    return !configured && this.#init.linkCount() >= this.#init.knobs.maxDialledLinks
  }

  /** The parts of a mesh that was split may be full by the time it heals. One such dial at a time: most may be in vain. */
  #mayRegain(): boolean {
    const dialled = [...this.#targets.values()].filter(({ dialling }) => dialling).map(({ peer }) => peer)
    for (const peer of this.#regained)
      if (!this.#init.isLinked(peer) && !dialled.includes(peer)) this.#regained.delete(peer)
    const isDialling = dialled.some((peer) => peer !== undefined && this.#regained.has(peer))
    return !isDialling && this.#regained.size < this.#init.knobs.maxRegainedLinks
  }

  #backoffMs(delayMs: number): number {
    return jittered(this.#init.environment.random, Math.min(delayMs, this.#init.knobs.redialMaxMs))
  }
}
