import { z } from 'zod'
import { raceSignal, type AbortOptions } from '../core/abort.js'
import { check, encode, equalBytes } from '../core/codec.js'
import type { Environment } from '../core/environment.js'
import { MurmurateError } from '../core/errors.js'
import type { NodeId, PageId } from '../core/ids.js'
import type { Startable } from '../core/lifecycle.js'
import type { Network, Unsubscribe } from '../net/network.js'
import { bucketPage, isOwnBucket } from '../record/bucket.js'
import type { Entry } from '../record/entry.js'
import type { PageKind } from '../record/policy.js'
import type { SharedDocument } from '../record/shared-document.js'
import { capabilitiesSchema, type Capabilities } from './capabilities.js'

const label = z.string().min(1).max(64)

/** What scopes can ask for. */
export const labelsSchema = z
  .record(label, z.string().max(128))
  .refine((labels) => Object.keys(labels).length <= 32, 'at most 32 labels')

/** What a node says of itself. */
export interface NodeDescription {
  /** For people; not unique. */
  readonly name: string
  readonly capabilities: Capabilities
  /** The groups it belongs to. */
  readonly formations: readonly string[]
  /** What scopes can ask for. */
  readonly labels: Readonly<Record<string, string>>
  /** Version of this library. */
  readonly software: string
}

const nodeSchema: z.ZodType<NodeDescription> = z.object({
  name: z.string().min(1).max(64),
  capabilities: capabilitiesSchema,
  formations: z.array(label).max(16),
  labels: labelsSchema,
  software: z.string().max(64)
})

/** Pages `node/<bucket>`: every member describes itself, in its own bucket. */
export const nodeKind: PageKind<NodeDescription> = {
  name: 'node',
  schema: nodeSchema,
  isPage: (page) => /^node\/\d{1,2}$/.test(page),
  mayWrite: (page, writer) => isOwnBucket(page, 'node', writer)
}

/** A member of the mesh, as this node sees it. */
export interface Member extends NodeDescription {
  readonly nodeId: NodeId
  /** Whether it is this node, or linked with it directly at this moment. */
  readonly online: boolean
  /** Since when it cannot be reached: its link was lost, or it was heard of without one. ms since 1970 on this node's clock. */
  readonly offlineSince?: number
}

/** What membership is built from. */
export interface MembershipComponents {
  readonly network: Network
  readonly document: SharedDocument
  readonly environment: Environment
}

/** Who is in the mesh: descriptions from the document, presence from links. */
export class Membership implements Startable {
  readonly #components: MembershipComponents
  readonly #descriptions = new Map<NodeId, NodeDescription>()
  readonly #offlineSince = new Map<NodeId, number>()
  readonly #listeners = new Set<() => void>()
  #own: NodeDescription
  #stops: Unsubscribe[] = []
  #linked = new Set<NodeId>()
  #stopping = new AbortController()

  constructor(components: MembershipComponents, own: NodeDescription) {
    this.#components = components
    this.#own = own
    components.document.register(nodeKind)
    components.document.subscribe(nodeKind, (entries) => this.#learn(entries))
  }

  /** Describes this node to the mesh, if that changed. The document must be started. */
  async start(): Promise<void> {
    const { network } = this.#components
    if (this.#stopping.signal.aborted) this.#stopping = new AbortController()
    this.#linked = new Set(network.peers())
    this.#stops = [network.onPeer(({ type, peer }) => this.#onLink(type === 'connected', peer))]
    await this.describe(this.#own)
  }

  stop(): void {
    for (const stop of this.#stops.splice(0)) stop()
    this.#linked.clear()
    this.#stopping.abort(new MurmurateError('NOT_STARTED', 'The node was stopped'))
  }

  /** Fires with `NOT_STARTED` when this node stops: nothing changes any more for whoever waits for a change. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  /**
   * Writes what this node says of itself, unless the mesh knows it already.
   *
   * @throws MurmurateError `INVALID_REQUEST`
   */
  async describe(description: NodeDescription): Promise<void> {
    const { document, network } = this.#components
    this.#own = check(description, nodeSchema, 'node description')
    const page: PageId = bucketPage('node', network.nodeId)
    const known = document.entry(nodeKind, page, network.nodeId)?.body
    // Canonical bytes: neither the order of keys nor a field that is undefined is a change.
    if (known !== undefined && equalBytes(encode(known), encode(this.#own))) return
    await document.write(nodeKind, page, this.#own)
  }

  /** This node's own description. */
  get self(): Member {
    return this.#member(this.#components.network.nodeId, this.#own)
  }

  /** What this node can do, as it told the mesh. */
  get capabilities(): Capabilities {
    return this.#own.capabilities
  }

  /** All members, sorted by id. */
  members(): Member[] {
    const members = Array.from(this.#descriptions, ([nodeId, description]) => this.#member(nodeId, description))
    return members.sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
  }

  /** One member. */
  get(nodeId: NodeId): Member | undefined {
    const description = this.#descriptions.get(nodeId)
    return description === undefined ? undefined : this.#member(nodeId, description)
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
      if (this.members().filter(({ online }) => online).length >= count) resolve()
    }
    const unsubscribe = this.onChange(look)
    look()
    try {
      await raceSignal(raceSignal(promise, signal), this.#stopping.signal)
    } finally {
      unsubscribe()
    }
  }

  /** Called after any change of descriptions or presence. */
  onChange(listener: () => void): Unsubscribe {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #member(nodeId: NodeId, description: NodeDescription): Member {
    const online = nodeId === this.#components.network.nodeId || this.#linked.has(nodeId)
    const offlineSince = this.#offlineSince.get(nodeId)
    return { nodeId, ...description, online, ...(online || offlineSince === undefined ? {} : { offlineSince }) }
  }

  #learn(entries: readonly Entry<NodeDescription>[]): void {
    const { clock } = this.#components.environment
    for (const { writer, body } of entries) {
      this.#descriptions.set(writer, body)
      if (!this.#linked.has(writer) && !this.#offlineSince.has(writer)) this.#offlineSince.set(writer, clock.now())
    }
    this.#changed()
  }

  #onLink(linked: boolean, peer: NodeId): void {
    if (linked) this.#linked.add(peer)
    else this.#linked.delete(peer)
    if (linked) this.#offlineSince.delete(peer)
    else this.#offlineSince.set(peer, this.#components.environment.clock.now())
    this.#changed()
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }
}
