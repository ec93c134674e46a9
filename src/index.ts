/**
 * murmurate keeps a fleet of machines running the right version of their ML models, with no server.
 *
 * Every node is an equal peer. A node finds the others by mDNS, shares a signed document with them, fetches models from
 * whoever has them, and computes by itself who runs what and what blocks the rest.
 *
 * Begin at {@link createNode}; then `node.models.publish`, `node.distribution.distributeModel` and
 * `node.distribution.subscribeConvergence`. An application that serves a model itself implements {@link Runtime}.
 *
 * @example
 * ```ts
 * import { createMeshSecret, createNode } from 'murmurate'
 *
 * const node = await createNode({ dataDir: './data', secret: process.env.MESH_SECRET ?? createMeshSecret() })
 * await node.start()
 * await node.models.publish('target_recognition', '4.2.1', [{ id: 'fp16', files: [{ path: 'model.safetensors' }] }])
 * await node.distribution.distributeModel('target_recognition', '4.2.1')
 * for await (const status of node.distribution.subscribeConvergence('target_recognition', '4.2.1')) {
 *   console.log(`${status.converged} of ${status.totalPlatforms}`)
 * }
 * await node.stop()
 * ```
 *
 * @packageDocumentation
 */
import './core/polyfill.js'

export { createNode, type MurmurateNode, type NodeRoot } from './node.js'
export { defaultListen, defaultPresence, defaultTuning, type NodeInit, type Tuning } from './config.js'
export { version } from './version.js'
export { createMeshSecret } from './identity/mesh-secret.js'
export { keyPairFromSeed, type KeyPair } from './identity/keypair.js'
export type { Authority, Role } from './identity/authority.js'
export {
  addSignature,
  createRoot,
  decodeSignedRoot,
  draftNext,
  encodeSignedRoot,
  fleetIdOf,
  parseFleetId,
  signRoot,
  verifyChain,
  verifyNext,
  type FleetId,
  type FleetRoot,
  type RootChanges,
  type RootSignature,
  type SignedRoot
} from './identity/fleet-root.js'
export type { RootFork } from './identity/root-chain.js'

export { foundMesh, type Founded, type FoundOptions } from './mesh/founding.js'
export { openInvitation, type Accepted, type Invitation, type InviteOptions } from './mesh/invitation.js'
export { joinMesh, type Joined, type JoinOptions } from './mesh/joining.js'
export { findMesh, type MeshFile } from './mesh/mesh-file.js'
export { type Place, type RootWish } from './mesh/root-change.js'
export { type Delivery, type RootAccess, type RootComponents } from './mesh/root-delivery.js'
export {
  applyDraft,
  changeRoot,
  createRootKey,
  rotateRootKey,
  showRoot,
  signDraft,
  type RootChangeResult,
  type RootView
} from './mesh/root-keys.js'
export { parseTicket, type Ticket } from './identity/ticket.js'

export type { AbortOptions } from './core/abort.js'
export type { Clock, Environment, Random, Timer } from './core/environment.js'
export {
  errorTable,
  MurmurateError,
  type ErrorCode,
  type ErrorExplanation,
  type MurmurateErrorOptions
} from './core/errors.js'
export type { Branded, Cid, ModelId, NodeId, PageId, RolloutId, VariantId, Version } from './core/ids.js'
export { parseModelId, parseNodeId, parsePageId, parseRolloutId, parseVersion, shortId } from './core/ids.js'
export type { Startable } from './core/lifecycle.js'
export type { LogFields, Logger } from './core/logger.js'
export type { Unsubscribe } from './net/network.js'

export type { Fault, PeerConduct, Remark } from './record/conduct.js'
export { isEvidence, type Evidence, type EvidenceListener } from './record/evidence.js'
export type { RecordView } from './record/record-view.js'
export type { RootKeeper } from './record/root-keeper.js'

export type { Capabilities, Gpu } from './fleet/capabilities.js'
export type { Fleet } from './fleet/fleet.js'
export type { HealthStatus, HealthSummary, NodeHealth, RootFigures } from './fleet/health.js'
export type { FleetHealth, HealthMonitor, OwnFigures } from './fleet/health-monitor.js'
export type { Load, ObservedLoad } from './fleet/load.js'
export type { ForgetOptions, Member, Membership, NodeDescription } from './fleet/membership.js'
export type { NeighbourWatch, WatchedLink } from './fleet/neighbour-watch.js'
export type { Presence, PresenceState } from './fleet/presence.js'
export type { PresencePresetName } from './fleet/presence-presets.js'
export type { ObservedProgress, Progress, Pulses } from './fleet/pulse.js'

export type { PublishedRelease } from './models/offers.js'
export type { ModelRegistry, PublishOptions, PublishProgress, VariantInput } from './models/registry.js'
export type { Release, Requirements, Variant } from './models/release.js'
export { all, capable, formation, nodes, type CapableFilter, type DistributionScope } from './models/scope.js'
export type { VariantSelector } from './models/variant.js'

export type { Bucket, ConvergenceBlocker } from './rollout/assessment.js'
export {
  convergenceProgress,
  isComplete,
  isSuccess,
  type ModelConvergenceStatus,
  type RolloutState
} from './rollout/convergence.js'
export type { WatchOptions } from './rollout/convergence-watch.js'
export { directoryRuntime, type Command, type DirectoryRuntimeInit } from './rollout/directory-runtime.js'
export type { DistributeOptions, Distribution, ModelDistributionHandle } from './rollout/distribution.js'
export type { TransferPriority } from './rollout/intent.js'
export type { ModelOperationalStatus, NodeModelStatus } from './rollout/node-model-status.js'
export type { Runtime, RuntimeArtifact, RuntimeFactory, RuntimeFile } from './rollout/runtime.js'
export type { BlockerReason, Phase, StatusBlocker, TransferSummary } from './rollout/status.js'
