import type { GossipSub } from '@chainsafe/libp2p-gossipsub'
import { MurmurateError } from '../core/errors.js'

/** What goes to a peer at once; messages are what is secret in it. */
interface Packet {
  readonly messages: readonly { readonly topic: string }[]
}

/** The two ways by which gossipsub 17 sends; private there, and it has no hook before them. */
interface Sender {
  sendRpc(peer: string, packet: Packet): boolean
  sendRpcInBatch(peers: Set<string>, packet: Packet): void
}

/**
 * Keeps messages from peers that may not hear them. A bad score would do so too, but then gossipsub forgets what the peer
 * subscribes to, and asks never again: one that becomes a member would stay deaf. Its subscriptions and grafts go on.
 */
export function restrictSending(pubsub: GossipSub, mayHear: (peer: string, topic: string) => boolean): void {
  if (!isSender(pubsub)) throw new MurmurateError('INTERNAL', 'This version of gossipsub sends in another way')
  const [sendRpc, sendRpcInBatch] = [pubsub.sendRpc.bind(pubsub), pubsub.sendRpcInBatch.bind(pubsub)]
  pubsub.sendRpc = (peer, packet) => {
    const allowed = packet.messages.filter(({ topic }) => mayHear(peer, topic))
    // The packet is passed on as it is where possible: gossipsub adds control messages to it.
    return sendRpc(peer, allowed.length === packet.messages.length ? packet : { ...packet, messages: allowed })
  }
  pubsub.sendRpcInBatch = (peers, packet) => {
    const isDeaf = (peer: string): boolean => packet.messages.some(({ topic }) => !mayHear(peer, topic))
    for (const peer of peers) if (isDeaf(peer)) peers.delete(peer)
    sendRpcInBatch(peers, packet)
  }
}

function isSender(pubsub: object): pubsub is Sender {
  return ['sendRpc', 'sendRpcInBatch'].every((name) => typeof Reflect.get(pubsub, name) === 'function')
}
