import { setMaxListeners } from 'node:events'
import type { Environment } from '../core/environment.js'
import { errorCode, messageOf, MurmurateError } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import { Listeners } from '../core/listeners.js'
import type { Logger } from '../core/logger.js'
import { authorityOf, type Authority, type Role } from '../identity/authority.js'
import { rootHash, verifyChain, type FleetId, type SignedRoot } from '../identity/fleet-root.js'
import { chooseChain, type RootFork } from '../identity/root-chain.js'
import type { Channel, Network, Unsubscribe } from '../net/network.js'
import { answerRootExchange, initiateRootExchange, maxRootMessageBytes, rootProtocol } from './root-exchange.js'
import type { RootStorage } from './root-file.js'

/** What the keeper is built from. */
export interface RootKeeperComponents {
  readonly network: Network
  readonly storage: RootStorage
  readonly environment: Environment
  readonly logger: Logger
}

/** Settings of the keeper. */
export interface RootKeeperInit {
  readonly fleetId: FleetId
  /** Roots known otherwise, from the first on. @default none */
  readonly roots?: readonly SignedRoot[]
}

/** Links of peers that are no members, at a time: so that they cannot take the places of members. */
const maxStrangers = 32
/** Forks that are remembered. */
const maxForks = 16
/** What a peer is to blame for. */
const hostileCodes: readonly unknown[] = ['ROOT_REFUSED', 'MALFORMED', 'FRAME_TOO_LARGE']

/**
 * Keeps the roots of this node's fleet: on the disk, the same as the peers', and in force. Until it knows one nobody has any
 * right. Whoever is revoked gets no link; whoever is no member may speak of roots only.
 */
export class RootKeeper implements Authority, Startable {
  readonly #components: RootKeeperComponents
  readonly #init: RootKeeperInit
  readonly #listeners: Listeners<[]>
  readonly #forks = new Map<string, RootFork>()
  readonly #exchanges = new Map<NodeId, Promise<void>>()
  /** Peers that are to hear of a root that is newer than their exchange under way. */
  readonly #again = new Set<NodeId>()
  readonly #answering = new Map<Channel, Promise<void>>()
  #chain: readonly SignedRoot[] = []
  #authority: Authority = authorityOf(undefined)
  /** What the disk holds, or will once it has caught up. */
  #stored: readonly SignedRoot[] = []
  #saved: Promise<void> = Promise.resolve()
  #abort = new AbortController()
  #stops: Unsubscribe[] = []

  constructor(components: RootKeeperComponents, init: RootKeeperInit) {
    this.#components = components
    this.#init = init
    this.#listeners = new Listeners('the fleet root', components.logger)
    components.network.guard({
      mayLink: (peer) => !this.#isRevoked(peer),
      mayUse: (peer, name) => name === rootProtocol || this.isMember(peer)
    })
  }

  /** Names the fleet. */
  get fleetId(): FleetId {
    return this.#init.fleetId
  }

  /** Whether its owners should have renewed the root by now. Advisory: a fleet that is offline goes on. */
  get isExpired(): boolean {
    return this.#components.environment.clock.now() >= (this.current?.root.expires ?? Infinity)
  }

  /** The root in force; undefined as long as none is known. */
  get current(): SignedRoot | undefined {
    return this.#chain.at(-1)
  }

  /** All versions, the first first: what a newcomer needs beside the fleet's id. */
  get chain(): readonly SignedRoot[] {
    return this.#chain
  }

  /** Misuse of root keys that this node has seen, at most the last 16. */
  get forks(): readonly RootFork[] {
    return [...this.#forks.values()]
  }

  get id(): string {
    return this.#authority.id
  }

  /** Whether the root in force names this node a member. */
  isMember(nodeId: NodeId): boolean {
    return this.#authority.isMember(nodeId)
  }

  /** Whether the root in force gives this node a role. */
  hasRole(nodeId: NodeId, role: Role): boolean {
    return this.#authority.hasRole(nodeId, role)
  }

  get releaseThreshold(): number {
    return this.#authority.releaseThreshold
  }

  /** Called when another root is in force, or misuse of the root keys was found. */
  onChange(listener: () => void): Unsubscribe {
    return this.#listeners.add(listener)
  }

  /** @throws MurmurateError `ROOT_UNREADABLE`; `ROOT_REFUSED` when the given roots are not of this fleet */
  async start(): Promise<void> {
    if (this.#stops.length > 0) return
    const { network, storage } = this.#components
    const { roots = [], fleetId } = this.#init
    if (roots.length > 0) verifyChain(fleetId, roots)
    this.#abort = new AbortController()
    // Every exchange listens to it, and there may be as many as links: no leak that Node would have to print.
    setMaxListeners(0, this.#abort.signal)
    this.#take(await storage.load())
    this.#stored = this.#chain
    if (this.#take(roots)) await this.#save(this.#chain)
    this.#stops = [
      network.serve(rootProtocol, (channel) => this.#answer(channel), { maxFrameBytes: maxRootMessageBytes }),
      network.onPeer(({ type, peer }) => {
        if (type === 'connected') this.#meet(peer)
      })
    ]
    this.#tellAll()
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0)) stop()
    this.#abort.abort()
    await Promise.allSettled([...this.#exchanges.values(), ...this.#answering.values(), this.#saved])
    this.#again.clear()
  }

  /**
   * Puts the next root in force: it is on this node's disk when this resolves, and on its way to all links.
   * One that is in force already does nothing.
   *
   * @throws MurmurateError `ROOT_REFUSED` when the present root does not allow it; `NOT_STARTED`; `INSUFFICIENT_STORAGE` or
   * `DATA_DIR_UNREADABLE` when it cannot be kept: then it is not in force
   */
  async install(next: SignedRoot): Promise<void> {
    if (this.#stops.length === 0) throw new MurmurateError('NOT_STARTED', 'The node is not running')
    if (this.#chain.some((known) => rootHash(known) === rootHash(next))) return
    const chain = [...this.#chain, next]
    verifyChain(this.#init.fleetId, chain)
    await this.#save(chain)
    this.#learn(chain)
  }

  #isRevoked(peer: NodeId): boolean {
    return this.current?.root.revoked.includes(peer) === true
  }

  #meet(peer: NodeId): void {
    this.#limitStrangers()
    // Both ends see the link; one exchange is enough, and the lower id begins it.
    if (this.#components.network.nodeId < peer) this.#exchangeWith(peer)
  }

  /** Before a root is known nobody is a member: then nobody is sent away. */
  #limitStrangers(): void {
    if (this.current === undefined) return
    const { network } = this.#components
    const strangers = network.peers().filter((peer) => !this.isMember(peer))
    for (const peer of strangers.slice(0, -maxStrangers)) this.#hangUp(peer, `more than ${maxStrangers} strangers`)
  }

  #tellAll(): void {
    for (const peer of this.#components.network.peers()) this.#exchangeWith(peer)
  }

  #exchangeWith(peer: NodeId): void {
    if (this.#exchanges.has(peer)) {
      this.#again.add(peer)
      return
    }
    const exchange = this.#initiate(peer).finally(() => {
      this.#exchanges.delete(peer)
      if (this.#again.delete(peer) && !this.#abort.signal.aborted) this.#exchangeWith(peer)
    })
    this.#exchanges.set(peer, exchange)
  }

  async #initiate(peer: NodeId): Promise<void> {
    const { signal } = this.#abort
    try {
      const options = { signal, maxFrameBytes: maxRootMessageBytes }
      const channel = await this.#components.network.open(peer, rootProtocol, options)
      try {
        this.#learn(await initiateRootExchange(this.#exchange, channel, signal))
        await channel.close()
      } catch (error) {
        channel.abort(error instanceof Error ? error : new Error(messageOf(error)))
        throw error
      }
    } catch (error) {
      this.#blame(peer, error)
    }
  }

  /** A peer begins an exchange when its last one is over. */
  async #answer(channel: Channel): Promise<void> {
    for (const older of this.#answering.keys()) {
      if (older.peer === channel.peer) older.abort(new MurmurateError('ABORTED', 'The peer began another exchange'))
    }
    const exchange = answerRootExchange(this.#exchange, channel, this.#abort.signal)
      .then((roots) => this.#learn(roots))
      .catch((error: unknown) => this.#blame(channel.peer, error))
    this.#answering.set(channel, exchange)
    await exchange.finally(() => this.#answering.delete(channel))
  }

  get #exchange(): { clock: Environment['clock']; fleetId: FleetId; chain: readonly SignedRoot[] } {
    return { clock: this.#components.environment.clock, fleetId: this.#init.fleetId, chain: this.#chain }
  }

  #blame(peer: NodeId, error: unknown): void {
    if (hostileCodes.includes(errorCode(error))) this.#hangUp(peer, messageOf(error))
    else this.#components.logger.debug(`the exchange of roots with ${peer} failed: ${messageOf(error)}`)
  }

  #hangUp(peer: NodeId, why: string): void {
    const { network, logger } = this.#components
    logger.warn(`hanging up on ${peer}: ${why}`)
    network.hangUp(peer).catch((error: unknown) => logger.debug(`hanging up on ${peer} failed: ${messageOf(error)}`))
  }

  /** Takes verified roots of a peer. They are in force at once, also when the disk is full: a revocation cannot wait for it. */
  #learn(roots: readonly SignedRoot[]): void {
    this.#adopt(roots)
    if (this.#stored === this.#chain) return
    this.#save(this.#chain).catch((error: unknown) =>
      this.#components.logger.error(`the fleet root is in force but not on the disk: ${messageOf(error)}`)
    )
  }

  #adopt(chain: readonly SignedRoot[]): void {
    if (!this.#take(chain)) return
    const { network, logger } = this.#components
    logger.info(`fleet root ${this.#chain.length} is in force`)
    network.recheck()
    this.#limitStrangers()
    this.#listeners.tell()
    this.#tellAll()
  }

  /** Goes by these roots if they count more than those that it knows. */
  #take(offered: readonly SignedRoot[]): boolean {
    const { chain, fork } = chooseChain(this.#chain, offered)
    const isNew = chain !== this.#chain
    this.#chain = chain
    if (isNew) this.#authority = authorityOf(chain.at(-1))
    if (fork !== undefined) this.#report(fork)
    return isNew
  }

  #report(fork: RootFork): void {
    const [kept, refused] = [rootHash(fork.kept), rootHash(fork.refused)]
    if (this.#forks.has(`${kept} ${refused}`)) return
    const oldest = this.#forks.size >= maxForks ? this.#forks.keys().next().value : undefined
    if (oldest !== undefined) this.#forks.delete(oldest)
    this.#forks.set(`${kept} ${refused}`, fork)
    const signers = fork.refused.signatures.map(({ key }) => key)
    const what = `root keys were misused: two different roots of version ${fork.version} are signed`
    this.#components.logger.error(what, { kept, refused, signers })
    this.#listeners.tell()
  }

  #save(chain: readonly SignedRoot[]): Promise<void> {
    this.#stored = chain
    const saved = this.#saved.then(() => this.#components.storage.save(chain))
    this.#saved = saved.catch(() => {})
    return saved
  }
}
