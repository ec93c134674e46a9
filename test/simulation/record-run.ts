/**
 * A storm over a mesh of the real record code, on the memory network and the virtual clock: writes under loss, while the
 * mesh is split into random parts, nodes crash, clocks are wrong and some members lie. Then it heals, and all honest nodes
 * must come to hold the same.
 */
import type { Clock, Environment } from '../../src/core/environment.js'
import type { NodeId, PageId } from '../../src/core/ids.js'
import { silentLogger, type Logger } from '../../src/core/logger.js'
import type { KeyPair } from '../../src/identity/keypair.js'
import { HostileMember } from '../support/hostile-member.js'
import { MemoVerifier } from '../support/memo-verifier.js'
import { virtualEnvironment } from '../support/virtual-clock.js'
import { keyPairOf } from '../unit/record/fixtures.js'
import { Mesh, imageOf, recordTopic, type Disk, type RecordNode, type VirtualMesh } from '../unit/record/mesh.js'
import { Ledger } from './ledger.js'
import { OperationLog } from './operation-log.js'
import { kindOf, kinds, sharedPage, stateKind, statePage, stonePage } from './pages.js'

/** How large a run is. */
export interface RunInit {
  readonly seed: number
  /** Honest and hostile ones. */
  readonly nodes: number
  /** Writes after the first of each node. */
  readonly writes: number
}

/** How long the storm lasts, ms of virtual time. */
const stormMs = 120_000
/** Every node has written its first entry after this, ms. */
const firstEntriesMs = 30_000
/** When the mesh is split, and when it is whole again, ms. */
const partitions = [
  [20_000, 35_000],
  [50_000, 70_000],
  [85_000, 120_000]
] as const
const hostilePart = 0.02
const crashedPart = 0.05
const skewedPart = 0.05
const dayMs = 86_400_000
const sharedPages = 4

/** A member that follows the rules, over all its restarts. */
export interface HonestMember {
  readonly number: number
  readonly keyPair: KeyPair
  readonly environment: Environment
  /** Undefined while it is down. */
  node: RecordNode | undefined
  /** Its disk as it was earlier. */
  image: Disk | undefined
}

/** A mesh and what happens to it. */
export class RecordRun {
  readonly mesh: VirtualMesh
  readonly operations: OperationLog
  readonly ledger = new Ledger()
  readonly honest: HonestMember[] = []
  readonly hostile: HostileMember[] = []
  /** Attacks made, by name. */
  readonly attacks = new Map<string, number>()
  /** What honest nodes refused. */
  refusals = 0
  readonly #init: RunInit
  readonly #verifier = new MemoVerifier()
  readonly #logger: Logger
  #written = 0
  #bytesOfDead = 0
  /** An honest node that lately held something else than the first. */
  #laggard: RecordNode | undefined
  readonly #failures: unknown[] = []

  constructor(init: RunInit) {
    this.#init = init
    const air = { gossipLoss: 0.2, gossipDuplication: 0.05, latencyMs: [1, 100], maxLinks: 4, gossipDegree: 5 } as const
    this.mesh = new Mesh(virtualEnvironment(init.seed, { resolutionMs: 1 }), air)
    this.operations = new OperationLog(this.#clock)
    this.#logger = { ...silentLogger, debug: (line) => void (this.refusals += line.startsWith('refused') ? 1 : 0) }
  }

  /** All that is under way at this virtual time, ms. */
  get elapsedMs(): number {
    return this.#clock.monotonic()
  }

  /** Honest nodes that are up. */
  get nodes(): RecordNode[] {
    return this.honest.flatMap(({ node }) => (node === undefined ? [] : [node]))
  }

  /** Bytes that honest nodes sent over all links. */
  get sentBytes(): number {
    return this.nodes.reduce((sum, { network }) => sum + network.traffic().sentBytes, this.#bytesOfDead)
  }

  /** Makes the members and starts them. */
  async begin(): Promise<void> {
    const { nodes } = this.#init
    const hostileCount = Math.max(2, Math.round(hostilePart * nodes))
    const keyPairs = await Promise.all(Array.from({ length: nodes }, (_, number) => keyPairOf(number)))
    for (const [number, keyPair] of keyPairs.slice(hostileCount).entries())
      this.#addHonest(number + hostileCount, keyPair)
    for (const [number, keyPair] of keyPairs.slice(0, hostileCount).entries()) this.#addHostile(number, keyPair)
    for (const member of this.honest) await this.#start(member)
    for (const member of this.hostile) member.start()
  }

  /** Two minutes of everything, then a mesh that is whole. */
  async storm(): Promise<void> {
    for (const member of this.honest) this.#at(this.#float() * firstEntriesMs, () => this.#write(member, 'first'))
    for (let count = 0; count < this.#init.writes; count++) {
      this.#at(this.#float() * stormMs, () => this.#write(this.#one(), 'later'))
    }
    for (const [fromMs, toMs] of partitions) {
      this.#at(fromMs, () => this.#partition())
      this.#at(toMs, () => this.#heal())
    }
    const crashes = Math.max(2, Math.round(crashedPart * this.honest.length))
    for (let count = 0; count < crashes; count++) this.#planCrash(count % 3 === 0)
    await this.#clock.advance(stormMs)
  }

  /** Waits until all honest nodes hold the same; undefined when they do not within the limit, else how long it took, ms. */
  async agreement(limitMs: number): Promise<number | undefined> {
    for (const member of this.hostile) member.isQuiet = true
    for (const member of this.honest) if (member.node === undefined) await this.#start(member)
    const healedMs = this.elapsedMs
    while (this.elapsedMs - healedMs < limitMs) {
      await this.#clock.advance(1000)
      if (this.#agrees()) return this.elapsedMs - healedMs
    }
    return undefined
  }

  /** Ends everything. @throws what went wrong unnoticed */
  async end(): Promise<void> {
    for (const member of this.hostile) member.stop()
    await this.#clock.run(Promise.all(this.nodes.map((node) => node.stop())))
    if (this.#failures.length > 0) throw new AggregateError(this.#failures, 'Something failed during the run')
  }

  /** The digests of the honest documents, and who holds each. */
  digests(): Map<string, RecordNode[]> {
    const holders = new Map<string, RecordNode[]>()
    for (const node of this.nodes) {
      const digest = node.document.digest()
      holders.set(digest, [...(holders.get(digest) ?? []), node])
    }
    return holders
  }

  /** Whether all hold the same. The one that last held something else is asked first: in a large mesh most are not asked at all. */
  #agrees(): boolean {
    const { nodes } = this
    const digest = nodes[0]?.document.digest()
    if (this.#laggard?.document.digest() !== digest && this.#laggard !== undefined) return false
    this.#laggard = nodes.find(({ document }) => document.digest() !== digest)
    return this.#laggard === undefined
  }

  get #clock(): VirtualMesh['environment']['clock'] {
    return this.mesh.environment.clock
  }

  #float(): number {
    return this.mesh.environment.random.float()
  }

  #one(): HonestMember {
    const member = this.honest[Math.floor(this.#float() * this.honest.length)]
    if (member === undefined) throw new Error('The mesh has no honest nodes')
    return member
  }

  #at(delayMs: number, action: () => void | Promise<void>): void {
    this.#clock.setTimer(delayMs, () => {
      Promise.resolve(action()).catch((error: unknown) => this.#failures.push(error))
    })
  }

  #addHonest(number: number, keyPair: KeyPair): void {
    const { random } = this.mesh.environment
    const offsetMs = random.float() < skewedPart ? (random.float() < 0.5 ? -dayMs : dayMs) : 0
    const environment = { clock: skewed(this.#clock, offsetMs), random }
    this.honest.push({ number, keyPair, environment, node: undefined, image: undefined })
    this.ledger.trust(keyPair.nodeId)
  }

  #addHostile(number: number, keyPair: KeyPair): void {
    const victims = this.honest.map((member) => member.keyPair.nodeId)
    const ownPages = [statePage(keyPair.nodeId), sharedPage(0), stonePage(number)]
    const otherPages = [...new Set(victims.map(statePage)), ...ownPages, sharedPage(1)]
    const onAttack = (name: string): void => {
      this.attacks.set(name, (this.attacks.get(name) ?? 0) + 1)
      this.operations.add(`hostile ${number} ${keyPair.nodeId}: ${name}`)
    }
    const { hub } = this.mesh
    const init = { hub, keyPair, topic: recordTopic, ownPages, otherPages, victims, periodMs: 2000, onAttack }
    this.hostile.push(new HostileMember(init))
  }

  async #start(member: HonestMember, disk?: Disk): Promise<void> {
    const { environment, number } = member
    const options = { environment, verifier: this.#verifier, logger: this.#logger, kinds: [stateKind] }
    const node = await this.mesh.node(number, disk === undefined ? options : { ...options, disk })
    for (const kind of kinds) {
      node.document.subscribe(kind, (entries) => {
        for (const entry of entries) {
          this.operations.taken(number, entry)
          this.ledger.check(entry, number)
        }
      })
    }
    member.node = node
    await node.start()
  }

  async #write(member: HonestMember, which: 'first' | 'later'): Promise<void> {
    const { node, keyPair, number } = member
    if (node === undefined) return
    const page = this.#pageFor(member, which)
    const text = `${number} ${this.#written++}`
    this.operations.add(`${number} ${keyPair.nodeId} writes "${text}" on ${page}`)
    const attempt = this.ledger.attempt(keyPair.nodeId, page, text)
    try {
      await node.document.write(kindOf(page), page, { text })
      if (member.node === node) this.ledger.acknowledge(keyPair.nodeId, page, attempt)
    } catch {
      // It crashed meanwhile, or its stone is written: nothing was acknowledged.
    }
  }

  #pageFor({ keyPair, number }: HonestMember, which: 'first' | 'later'): PageId {
    const draw = this.#float()
    if (which === 'first' || draw < 0.8) return statePage(keyPair.nodeId)
    return draw < 0.98 ? sharedPage(Math.floor(this.#float() * sharedPages)) : stonePage(number)
  }

  #partition(): void {
    const parts: NodeId[][] = Array.from({ length: 2 + Math.floor(this.#float() * 3) }, () => [])
    for (const { keyPair } of this.honest) parts[Math.floor(this.#float() * parts.length)]?.push(keyPair.nodeId)
    for (const { network } of this.hostile) parts[Math.floor(this.#float() * parts.length)]?.push(network.nodeId)
    this.operations.add(`split into ${parts.map(({ length }) => length).join(' + ')} nodes`)
    this.mesh.hub.partition(parts)
  }

  #heal(): void {
    this.operations.add('healed')
    this.mesh.hub.healAll()
  }

  /** A crash at some moment, and a start soon after it; from an old disk image if it says so. */
  #planCrash(isRestored: boolean): void {
    const member = this.#one()
    const crashMs = firstEntriesMs + this.#float() * (stormMs - firstEntriesMs - 15_000)
    if (isRestored) {
      this.#at(crashMs * this.#float(), () => {
        if (member.node !== undefined) member.image = imageOf(member.node.disk)
      })
    }
    this.#at(crashMs, () => this.#crash(member, isRestored, 500 + this.#float() * 10_000))
  }

  /** What was not synced is lost, and the links just end. */
  #crash(member: HonestMember, isRestored: boolean, downMs: number): void {
    const { node, number, keyPair } = member
    if (node === undefined) return
    this.#bytesOfDead += node.network.traffic().sentBytes
    const image = isRestored ? member.image : undefined
    const disk = image ?? imageOf(node.disk)
    if (image !== undefined) this.ledger.restored(keyPair.nodeId)
    this.operations.add(`${number} ${keyPair.nodeId} crashes${image === undefined ? '' : ', its disk is an old one'}`)
    member.node = undefined
    node.network.stop()
    void node.document.stop().catch((error: unknown) => this.#failures.push(error))
    this.#at(downMs, () => {
      this.operations.add(`${number} ${keyPair.nodeId} starts`)
      return this.#start(member, disk)
    })
  }
}

function skewed(clock: Clock, offsetMs: number): Clock {
  return {
    now: () => clock.now() + offsetMs,
    monotonic: () => clock.monotonic(),
    setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback)
  }
}
