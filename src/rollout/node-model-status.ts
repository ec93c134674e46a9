import type { ModelId, NodeId, VariantId, Version } from '../core/ids.js'
import type { ObservedStatus, Phase, StatusBlocker, StatusBody, TransferSummary } from './status.js'

/** The six values that a model on a node can have for those who only want to know whether it serves (features A16). */
export type ModelOperationalStatus = 'notDeployed' | 'downloading' | 'loading' | 'operational' | 'degraded' | 'failed'

/** What a node says of a model (features A15). Optional fields are absent, never null. */
export interface NodeModelStatus {
  readonly nodeId: NodeId
  readonly modelId: ModelId
  readonly currentVersion?: Version
  readonly variantId?: VariantId
  readonly operationalStatus: ModelOperationalStatus
  readonly phase: Phase
  readonly targetVersion?: Version
  readonly blocker?: StatusBlocker
  /** How the last version's bytes came here. */
  readonly transfer?: TransferSummary
  /** The node's wall clock when it wrote this, ms since 1970. */
  readonly lastUpdated: number
}

/** Puts a status into the form of the seed's API. */
export function nodeModelStatus(model: ModelId, { nodeId, body, updatedAt }: ObservedStatus): NodeModelStatus {
  const { current, target, blocker, transfer, phase } = body
  return {
    nodeId,
    modelId: model,
    ...(current === null ? {} : { currentVersion: current.version, variantId: current.variant }),
    operationalStatus: operationalStatus(body),
    phase,
    ...(target === null ? {} : { targetVersion: target.version }),
    ...(blocker === undefined ? {} : { blocker }),
    ...(transfer === undefined ? {} : { transfer }),
    lastUpdated: updatedAt
  }
}

/** A fixed mapping of the phases. While a new version is on its way the old one serves: see `currentVersion`. */
function operationalStatus({ phase, current }: StatusBody): ModelOperationalStatus {
  switch (phase) {
    case 'downloading':
    case 'staged':
      return 'downloading'
    case 'loading':
    case 'verifying':
    case 'unloading':
      return 'loading'
    case 'degraded':
      return 'degraded'
    case 'failed':
      return 'failed'
    case 'notDeployed':
    case 'queued':
    case 'paused':
    case 'operational':
    case 'rolledBack':
      return current === null ? 'notDeployed' : 'operational'
  }
}
