import type { AbortOptions } from '../core/abort.js'
import type { ModelId, VariantId, Version } from '../core/ids.js'

/** A version's files, complete and verified, on this node's disk. Read them; never write to them. */
export interface RuntimeArtifact {
  readonly model: ModelId
  readonly version: Version
  readonly variant: VariantId
  readonly files: readonly RuntimeFile[]
}

/** One file of an artifact. */
export interface RuntimeFile {
  /** Its name in the release, a relative path with "/". */
  readonly name: string
  readonly sizeBytes: number
  /** Where its bytes are. */
  readonly path: string
}

/**
 * What serves a model on a node: the application's side of a rollout. One instance serves one model; its methods are
 * never called concurrently. An error thrown by `load` or `check` makes the node restore the previous version.
 *
 * When its signal fires, a method must end soon and change nothing any more: after a few seconds the node goes on
 * without it, and it would meet the next call at work.
 */
export interface Runtime {
  /**
   * Brings this version into service in place of the one before, in one step: a reader sees the old version or the
   * new one, never a mixture. Called again with the previous artifact to go back, and after each start of the node.
   */
  load(artifact: RuntimeArtifact, options: AbortOptions): Promise<void>
  /** Resolves when what was loaded does its work; throws with the reason when it does not. */
  check(options: AbortOptions): Promise<void>
  /** Takes the model out of service. */
  unload(options: AbortOptions): Promise<void>
  /** Whether a new version may be loaded now; a node that must not is shown as busy and asks again. */
  ready?(options: AbortOptions): Promise<boolean>
}

/** Makes the runtime of a model when its first version is to be loaded; what it throws is shown as a blocker. */
export type RuntimeFactory = (model: ModelId) => Runtime
