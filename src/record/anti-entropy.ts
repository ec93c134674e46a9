/**
 * Two nodes make their documents equal, whatever was lost before, at the cost of what differs.
 *
 * ```
 * initiator -> responder   open               a salt, the digest of all that I know
 * responder -> initiator   equal | pages+     nothing to do; or a digest a page
 * initiator -> responder   slices+            for the pages that differ: digests of slices of their writers
 * responder -> initiator   vectors+           how far I know the writers in the slices that differ; of kinds that I know
 * initiator -> responder   updates* wants+    what you lack; what I lack
 * responder -> initiator   updates* done      what you lack
 * ```
 * Vectors carry a tag of each writer's last value, so that two values for one clock are noticed too. Three round trips, and one
 * when the documents are equal. A round that is cut off keeps what came in; the next one speaks of the rest.
 *
 * Non-goals: to be told what happened meanwhile (gossip does that), and to prove that a peer tells all it knows.
 */
import type { Channel } from '../net/network.js'
import { Initiator } from './initiator.js'
import { Responder } from './responder.js'
import type { RoundResult, SyncComponents } from './side.js'

/** The protocol that a node serves for it. */
export const syncProtocol = '/murmurate/sync/1'

/** Runs a round that this node began. @throws MurmurateError `MALFORMED` when the peer is at fault; else as its channel */
export function initiateSync(components: SyncComponents, channel: Channel, signal: AbortSignal): Promise<RoundResult> {
  return new Initiator(components, channel, signal).run()
}

/** Answers a round that the peer began. @throws MurmurateError as `initiateSync` */
export function answerSync(components: SyncComponents, channel: Channel, signal: AbortSignal): Promise<void> {
  return new Responder(components, channel, signal).run()
}
