import { raceSignal, type AbortOptions } from '../core/abort.js'
import type { Environment } from '../core/environment.js'
import { MurmurateError } from '../core/errors.js'
import { shortId, type NodeId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import { Listeners } from '../core/listeners.js'
import type { Logger } from '../core/logger.js'
import { openAuthority, type Authority } from '../identity/authority.js'
import type { Network, Unsubscribe } from '../net/network.js'
import type { SharedDocument } from '../record/shared-document.js'
import type { Capabilities } from './capabilities.js'
import { nodeKind, type NodeDescription } from './description.js'
import { forgottenKind, forgottenPage, maxForgotten } from './forgotten.js'
import { Members, type Member } from './members.js'
import { OwnDescription } from './own-description.js'
import type { Presence } from './presence.js'

export type { Member } from './members.js'
export { labelsSchema, nodeKind, type NodeDescription } from './description.js'

/** What membership is built from. */
export interface MembershipComponents {
  readonly network: Network
  readonly document: SharedDocument
  readonly presence: Presence
  /** Who belongs to the fleet. @default whoever is in the mesh */
  readonly authority?: Authority
  readonly environment: Environment
  readonly logger: Logger
}

/** Settings of membership. */
export interface MembershipInit {
  /** A member that was not reachable for longer than this is a candidate for `forget`, ms; 0: none ever is. */
  readonly expireAfterMs: number
}

/** Options of forgetting a node. */
export interface ForgetOptions {
  /** Forget it even though it is online; it will be back as soon as it hears of that. @default false */
  readonly force?: boolean
}

/** Who is in the mesh: descriptions from the document, less those that were forgotten; presence from its port. */
export class Membership implements Startable {
  readonly #components: MembershipComponents
  readonly #init: MembershipInit
  readonly #members: Members
  readonly #own: OwnDescription
  readonly #listeners: Listeners<[changed: readonly NodeId[]]>
  #stopPresence: Unsubscribe | undefined
  #stopAuthority: Unsubscribe | undefined
  #stopping = new AbortController()
  #forgetting: Promise<unknown> = Promise.resolve()

  constructor(components: MembershipComponents, own: NodeDescription, init: MembershipInit) {
    const { network, document, presence, environment, logger } = components
    const { clock } = environment
    this.#components = components
    this.#init = init
    this.#members = new Members(network.nodeId, presence, clock)
    this.#own = new OwnDescription({ self: network.nodeId, document, members: this.#members, clock, logger }, own)
    this.#listeners = new Listeners('the fleet', logger)
    document.register(nodeKind)
    document.register(forgottenKind)
    document.subscribe(nodeKind, (entries, removed) => this.#tell(this.#members.learn(entries, removed)))
    document.subscribe(forgottenKind, (entries, removed) => this.#tell(this.#members.learnForgotten(entries, removed)))
  }

  /** Describes this node to the mesh, if that changed. The document must be started. */
  async start(): Promise<void> {
    if (this.#stopping.signal.aborted) this.#stopping = new AbortController()
    this.#stopPresence ??= this.#components.presence.onChange((nodes) => this.#tell(this.#members.refresh(nodes)))
    this.#tell(this.#members.refresh())
    this.#stopAuthority ??= (this.#components.authority ?? openAuthority).onChange(() => this.#own.rightsChanged())
    await this.#own.start()
  }

  stop(): void {
    this.#stopPresence?.()
    this.#stopPresence = undefined
    this.#stopAuthority?.()
    this.#stopAuthority = undefined
    this.#own.stop()
    this.#stopping.abort(new MurmurateError('NOT_STARTED', 'The node was stopped'))
  }

  /** Fires with `NOT_STARTED` when this node stops: nothing changes any more for whoever waits for a change. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  /**
   * Writes what this node says of itself, unless the mesh knows it already and has not forgotten this node.
   *
   * @throws MurmurateError `INVALID_REQUEST`
   */
  describe(description: NodeDescription): Promise<void> {
    return this.#own.set(description)
  }

  /** What this node says of itself. */
  get description(): NodeDescription {
    return this.#own.value
  }

  /** This node as a member; also while the others have forgotten it. */
  get self(): Member {
    return { nodeId: this.#components.network.nodeId, ...this.#own.value, online: true, presence: 'alive' }
  }

  /** What this node can do, as it told the mesh. */
  get capabilities(): Capabilities {
    return this.#own.value.capabilities
  }

  /** All members, sorted by id. The same list until something changes. */
  members(): readonly Member[] {
    return this.#members.list()
  }

  /** One member. */
  get(nodeId: NodeId): Member | undefined {
    return this.#members.get(nodeId)
  }

  /**
   * The member whose id begins with this text, or whose distinguishing part (behind `12D3KooW`) does, or that has this name.
   * A full id always means its node, whatever names others give themselves.
   *
   * @throws MurmurateError `NODE_NOT_FOUND` when there is none or more than one
   */
  resolve(text: string): NodeId {
    const members = this.members()
    const exact = members.find(({ nodeId }) => nodeId === text)
    if (exact !== undefined) return exact.nodeId
    const found = members.filter(
      ({ nodeId, name }) => name === text || nodeId.startsWith(text) || nodeId.startsWith(`12D3KooW${text}`)
    )
    const [only] = found
    if (text !== '' && only !== undefined && found.length === 1) return only.nodeId
    const problem = found.length === 0 ? 'No member has' : `${found.length} members have`
    throw new MurmurateError('NODE_NOT_FOUND', `${problem} the id, prefix or name ${JSON.stringify(text.slice(0, 80))}`)
  }

  /**
   * Resolves when at least this many members are online, this node among them; for a rollout that is to find them all.
   *
   * @throws MurmurateError `ABORTED`, `NOT_STARTED` when the node is stopped meanwhile
   */
  async waitFor(count: number, { signal }: AbortOptions = {}): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const look = (): void => {
      if (this.#members.onlineCount >= count) resolve()
    }
    const unsubscribe = this.onChange(look)
    look()
    try {
      await raceSignal(raceSignal(promise, signal), this.#stopping.signal)
    } finally {
      unsubscribe()
    }
  }

  /** Hears which nodes changed in description or presence, joined, or are no members any more (`get` then finds none). */
  onChange(listener: (changed: readonly NodeId[]) => void): Unsubscribe {
    return this.#listeners.add(listener)
  }

  /**
   * Members that were not reachable from here for longer than `expireAfterMs`, those gone longest first: candidates for
   * `forget`. Counted from when this node noticed, by a clock that does not jump; a restart of this node begins anew.
   */
  expired(): readonly Member[] {
    const { expireAfterMs } = this.#init
    return expireAfterMs === 0 ? [] : this.#members.goneFor(expireAfterMs)
  }

  /**
   * Takes a node that is gone for good out of the mesh: on every node it is no member any more, and no verdict counts it. One
   * that is alive after all says so, and is back.
   *
   * @param nodeIdOrPrefix - a full id, an unambiguous prefix of one, or a member's name
   * @throws MurmurateError `NODE_NOT_FOUND`; `INVALID_REQUEST` when it is this node, is online, or this node has forgotten
   * too many already; `NOT_PERMITTED` when the fleet root does not make this node an operator
   */
  forget(nodeIdOrPrefix: string, { force = false }: ForgetOptions = {}): Promise<NodeId> {
    // One after the other: each adds to the list that the one before has written.
    const forgotten = this.#forgetting.then(() => this.#forget(nodeIdOrPrefix, force))
    this.#forgetting = forgotten.catch(() => {})
    return forgotten
  }

  /**
   * Sees to it that this node's description was written in this run of the node, and resolves to its epoch: it is above the
   * epochs of all runs before, and the mesh learns of it. Resolves to undefined when the node is stopped or cannot write.
   */
  announce(): Promise<number | undefined> {
    return this.#own.announce()
  }

  /** The epoch of a node's description; undefined when none is known. */
  epochOf(nodeId: NodeId): number | undefined {
    return this.#members.entry(nodeId)?.epoch
  }

  #tell(changed: readonly NodeId[]): void {
    this.#own.comeBack()
    if (changed.length > 0) this.#listeners.tell(changed)
  }

  async #forget(text: string, force: boolean): Promise<NodeId> {
    const { network, document } = this.#components
    const nodeId = this.resolve(text)
    const member = this.#members.get(nodeId)
    const entry = this.#members.entry(nodeId)
    if (member === undefined || entry === undefined) throw new MurmurateError('INTERNAL', `${nodeId} is not described`)
    if (nodeId === network.nodeId) throw refusal('A node cannot forget itself: stop it, and forget it from another one')
    if (member.online && !force) {
      throw refusal(
        `${member.name} (${shortId(nodeId)}) is online: stop it first, or say that you mean it with "force"`
      )
    }
    const others = this.#members.forgottenBy(network.nodeId)
    if (others.length >= maxForgotten) {
      throw refusal(`This node has forgotten ${others.length} nodes, as many as it can: forget more from another one`)
    }
    const forgotten = [...others, { node: nodeId, epoch: entry.epoch, seq: entry.seq }]
    await document.write(forgottenKind, forgottenPage(network.nodeId), { forgotten })
    return nodeId
  }
}

function refusal(message: string): MurmurateError {
  return new MurmurateError('INVALID_REQUEST', message)
}
