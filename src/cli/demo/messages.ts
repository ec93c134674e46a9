import type { ErrorCode } from '../../core/errors.js'
import type {
  Capabilities,
  DistributionScope,
  ModelConvergenceStatus,
  NodeId,
  NodeModelStatus,
  ObservedProgress,
  VariantInput
} from '../../index.js'

/** What a demo node is started with. */
export interface DemoNodeInit {
  readonly dataDir: string
  readonly secret: string
  readonly name: string
  readonly capabilities: Capabilities
  readonly storageBytes?: number
}

/** What the demo asks of a node, with what comes back. */
export interface DemoCalls {
  start: { params: DemoNodeInit; result: { nodeId: NodeId } }
  publish: { params: { model: string; version: string; variants: VariantInput[] }; result: null }
  distribute: { params: { model: string; version: string; scope: DistributionScope; from?: string }; result: null }
  /** Reports verdict and progress as events until the rollout is complete. */
  watch: { params: { model: string; version: string }; result: ModelConvergenceStatus }
  statuses: { params: { model: string }; result: NodeModelStatus[] }
  id: { params: null; result: NodeId }
  /** Members that the node sees online, itself among them. */
  members: { params: null; result: number }
  stop: { params: null; result: null }
}

/** The name of a call. */
export type DemoMethod = keyof DemoCalls

/** From the demo to a node. */
export interface DemoRequest {
  readonly id: number
  readonly method: DemoMethod
  readonly params: unknown
}

/** What a node tells unasked. */
export type DemoEvent =
  | { readonly event: 'members'; readonly online: number }
  | { readonly event: 'convergence'; readonly status: ModelConvergenceStatus; readonly nodes: NodeModelStatus[] }
  | { readonly event: 'progress'; readonly progress: ObservedProgress }

/** From a node to the demo. */
export type DemoReply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: { readonly code: ErrorCode; readonly message: string } }
  | DemoEvent
