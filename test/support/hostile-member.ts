import { createHash } from 'node:crypto'
import { every, type Timer } from '../../src/core/environment.js'
import type { NodeId, PageId } from '../../src/core/ids.js'
import type { KeyPair } from '../../src/identity/keypair.js'
import { MemoryNetwork, type MemoryHub } from '../../src/net/memory-network.js'
import { maxGossipBytes, type Channel, type GossipVerdict } from '../../src/net/network.js'
import { syncProtocol } from '../../src/record/anti-entropy.js'
import { decodeUpdates } from '../../src/record/wire.js'
import { parseUpdate } from '../../src/record/yjs-update.js'
import { pick, type Captured, type HostileContext } from './hostile-context.js'
import { gossipAttacks, type GossipAttack } from './hostile-gossip.js'
import { attackRound, syncAttacks } from './hostile-sync.js'

/** What a hostile member is given. */
export interface HostileInit {
  readonly hub: MemoryHub
  readonly keyPair: KeyPair
  readonly topic: string
  readonly ownPages: readonly PageId[]
  readonly otherPages: readonly PageId[]
  readonly victims: readonly NodeId[]
  /** Time between two attacks, ms. */
  readonly periodMs: number
  /** Hears of each attack. */
  readonly onAttack: (name: string) => void
}

type SyncAttackName = keyof typeof syncAttacks
const syncAttackNames = Object.keys(syncAttacks) as SyncAttackName[]
/** All attacks. */
export const attackNames: readonly string[] = [...gossipAttacks.keys(), ...syncAttackNames]

/** Entries of others that it remembers. */
const maxCaptured = 200

/** A member with keys and links of its own that speaks the real protocol and lies. */
export class HostileMember {
  readonly network: MemoryNetwork
  /** Once set, it writes no more entries that others have to take; it goes on lying. */
  isQuiet = false
  readonly #init: HostileInit
  readonly #captured: Captured[] = []
  readonly #context: HostileContext
  #timer: Timer | undefined

  constructor(init: HostileInit) {
    const { hub, keyPair, ownPages, otherPages, victims } = init
    this.#init = init
    this.network = new MemoryNetwork({ nodeId: keyPair.nodeId, hub })
    const { random } = hub.environment
    const known = { captured: this.#captured, clocks: new Map<PageId, number>() }
    this.#context = { keyPair, random, ownPages, otherPages, victims, ...known }
  }

  /** Joins the mesh and attacks, until it is stopped. */
  start(): void {
    const { hub, topic, periodMs } = this.#init
    this.network.subscribe(topic, ({ data }) => this.#capture(data))
    this.network.serve(syncProtocol, (channel) => this.#answer(channel), { maxFrameBytes: maxGossipBytes })
    this.network.start()
    this.#timer = every(hub.environment, periodMs, () => this.#attackAtRandom())
  }

  stop(): void {
    this.#timer?.cancel()
    this.network.stop()
  }

  /** Remembers what goes by; passes on only half of it. */
  #capture(data: Uint8Array): GossipVerdict {
    const { random } = this.#context
    try {
      for (const { page, update } of decodeUpdates(data)) {
        for (const chain of parseUpdate(update)) this.#remember({ page, chain })
      }
    } catch {
      // Another hostile member's.
    }
    return random.float() < 0.5 ? 'accept' : 'ignore'
  }

  #remember(captured: Captured): void {
    this.#captured.push(captured)
    if (this.#captured.length > maxCaptured) this.#captured.shift()
  }

  /** One attack, by the name of an attack of `hostile-gossip.ts` or `hostile-sync.ts`, on whoever is linked. */
  attack(name: string): void {
    const attack = gossipAttacks.get(name)
    if (attack === undefined) return void this.#beginRound(name as SyncAttackName)
    this.#init.onAttack(name)
    this.#gossip(attack)
  }

  #attackAtRandom(): void {
    const { random } = this.#context
    const names: readonly string[] = random.float() < 0.3 ? syncAttackNames : this.#gossipNames()
    const name = pick(random, names)
    if (name !== undefined) this.attack(name)
  }

  #gossipNames(): string[] {
    return [...gossipAttacks].flatMap(([name, { makesEntries }]) => (this.isQuiet && makesEntries ? [] : [name]))
  }

  #gossip({ messages, isSplit }: GossipAttack): void {
    const { hub, topic } = this.#init
    const peers = this.network.peers()
    for (const [number, data] of messages(this.#context).entries()) {
      const id = createHash('sha256').update(`${topic}\0`).update(data).digest('base64')
      for (const [at, peer] of peers.entries()) {
        if (isSplit && at % 2 !== number % 2) continue
        hub.carryGossip({ id, topic, data }, this.network.nodeId, peer)
      }
    }
  }

  async #beginRound(name: SyncAttackName): Promise<void> {
    const peer = pick(this.#context.random, this.network.peers())
    if (peer === undefined) return
    try {
      const channel = await this.network.open(peer, syncProtocol, { maxFrameBytes: maxGossipBytes })
      await this.#round(name, channel, true)
    } catch {
      // Hung up on, or the link is down.
    }
  }

  async #answer(channel: Channel): Promise<void> {
    const name = pick(this.#context.random, syncAttackNames)
    if (name !== undefined) await this.#round(name, channel, false).catch(() => {})
  }

  async #round(name: SyncAttackName, channel: Channel, isOurs: boolean): Promise<void> {
    const { clock } = this.#init.hub.environment
    this.#init.onAttack(name)
    await attackRound(name, { context: this.#context, channel, clock, isOurs })
  }
}
