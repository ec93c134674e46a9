import { encodeSync, type SyncMessage } from '../../../src/record/sync-messages.js'
import type { PageId } from '../../../src/core/ids.js'
import type { KeyPair } from '../../../src/identity/keypair.js'
import type { Channel } from '../../../src/net/network.js'
import { syncProtocol } from '../../../src/record/anti-entropy.js'
import type { PeerConduct } from '../../../src/record/conduct.js'
import { encodeUpdates, maxMessageBytes } from '../../../src/record/wire.js'
import { notePage } from './fixtures.js'
import { recordTopic, type RecordNode, type VirtualMesh } from './mesh.js'

/** The opening of a round whose document is like nobody's. */
export const openingMessage: SyncMessage = { type: 'open', salt: new Uint8Array(8), digest: new Uint8Array(16) }

/** A peer that speaks the protocol and means no good. */
export class HostilePeer {
  readonly keyPair: KeyPair
  readonly #mesh: VirtualMesh
  readonly #node: RecordNode

  private constructor(mesh: VirtualMesh, node: RecordNode) {
    this.#mesh = mesh
    this.#node = node
    this.keyPair = node.keyPair
  }

  /** Links to everybody, serves nothing yet. */
  static async join(mesh: VirtualMesh, number = 5): Promise<HostilePeer> {
    const peer = new HostilePeer(mesh, await mesh.node(number))
    peer.#node.network.start()
    await mesh.environment.clock.advance(100)
    return peer
  }

  /** Whether the victim has a link to it. */
  isLinkedTo(victim: RecordNode): boolean {
    return victim.network.peers().includes(this.keyPair.nodeId)
  }

  /** What the victim wrote down about it. */
  conductAt(victim: RecordNode): PeerConduct | undefined {
    return victim.document.conduct().find(({ peer }) => peer === this.keyPair.nodeId)
  }

  async gossip(update: Uint8Array, page: PageId = notePage): Promise<void> {
    await this.gossipBytes(encodeUpdates([{ page, update }]))
  }

  async gossipBytes(data: Uint8Array): Promise<void> {
    await this.#node.network.publish(recordTopic, data)
    await this.#mesh.environment.clock.advance(10)
  }

  /** Opens a channel for a round. */
  open(victim: RecordNode): Promise<Channel> {
    const opening = this.#node.network.open(victim.keyPair.nodeId, syncProtocol, { maxFrameBytes: 2 * maxMessageBytes })
    return this.#mesh.environment.clock.run(opening)
  }

  /** Begins a round with these messages, and resolves when they are there. Whether the victim still listens shows later. */
  async begin(victim: RecordNode, messages: Iterable<SyncMessage | Uint8Array>): Promise<Channel> {
    const channel = await this.open(victim)
    await this.#mesh.environment.clock.run(send(channel, messages).catch(() => {}))
    await this.#mesh.environment.clock.advance(50)
    return channel
  }

  /** Answers each round that others begin with these messages, each time anew. */
  answer(messages: () => Iterable<SyncMessage | Uint8Array> | AsyncIterable<SyncMessage | Uint8Array>): void {
    this.serve(async (channel) => {
      await send(channel, messages())
      await channel.close()
    })
  }

  /** Serves rounds that others begin. */
  serve(handler: (channel: Channel) => Promise<void>): void {
    this.#node.network.serve(syncProtocol, handler, { maxFrameBytes: 2 * maxMessageBytes })
  }
}

async function send(
  channel: Channel,
  messages: Iterable<SyncMessage | Uint8Array> | AsyncIterable<SyncMessage | Uint8Array>
): Promise<void> {
  for await (const message of messages) {
    await channel.send([message instanceof Uint8Array ? message : encodeSync(message)])
  }
}
