import { every, type Environment, type Timer } from '../core/environment.js'
import { messageOf } from '../core/errors.js'
import type { Startable } from '../core/lifecycle.js'
import type { Logger } from '../core/logger.js'
import type { Capabilities } from './capabilities.js'
import type { Membership } from './membership.js'

/** What is needed to keep the description of this node true. */
export interface CapabilityWatchComponents {
  readonly membership: Pick<Membership, 'description' | 'describe'>
  /** Space that models may take, MiB; undefined when unknown. */
  readonly probeStorageMb: () => Promise<number | undefined>
  readonly environment: Environment
  readonly logger: Logger
}

/** The disk is looked at this often, ms, give or take a quarter; so this node describes itself at most once in 45 s for it. */
const periodMs = 60_000
/** A change of at least this part of what was told, or of this many MiB, is told; smaller ones are the noise of a working disk. */
const changedPart = 0.05
const changedMb = 1024

/**
 * Looks at the disk again and again, and tells the mesh when there is much more or less space for models than it knows: a
 * rollout that is under way counts on it.
 */
export class CapabilityWatch implements Startable {
  readonly #components: CapabilityWatchComponents
  #timer: Timer | undefined

  constructor(components: CapabilityWatchComponents) {
    this.#components = components
  }

  start(): void {
    this.#timer ??= every(this.#components.environment, periodMs, () => this.#look())
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  async #look(): Promise<void> {
    const { membership, probeStorageMb, logger } = this.#components
    try {
      const storageMb = await probeStorageMb()
      const { storageMb: told, ...others } = membership.description.capabilities
      if (this.#timer === undefined || !isMaterial(told, storageMb)) return
      const capabilities: Capabilities = storageMb === undefined ? others : { ...others, storageMb }
      await membership.describe({ ...membership.description, capabilities })
    } catch (error) {
      // A full disk takes no description either; it is looked at again.
      logger.warn(`the space for models was not told: ${messageOf(error)}`)
    }
  }
}

/** Whether the mesh should know. */
function isMaterial(told: number | undefined, found: number | undefined): boolean {
  if (told === undefined || found === undefined) return told !== found
  const change = Math.abs(found - told)
  return change >= changedMb || change >= told * changedPart
}
