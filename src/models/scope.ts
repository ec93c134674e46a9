import { z } from 'zod'
import { parseNodeId, type NodeId } from '../core/ids.js'
import { gpuMemoryMb } from '../fleet/capabilities.js'
import type { Member } from '../fleet/membership.js'

const text = z.string().min(1).max(64)
const amount = z.number().nonnegative().finite()

/** What the `capable` scope can demand; what is absent is not demanded. */
export interface CapableFilter {
  /** Memory of one GPU, GiB. */
  readonly minGpuGb?: number | undefined
  /** As `uname -m` has it: `x86_64`, `aarch64`. */
  readonly cpuArch?: string | undefined
  /** Free disk space, MiB. */
  readonly minStorageMb?: number | undefined
  /** Labels that the node must have, with these values. */
  readonly labels?: Readonly<Record<string, string>> | undefined
}

/** Which nodes a rollout is meant for (features A39). */
export type DistributionScope =
  | { readonly kind: 'all' }
  | { readonly kind: 'formation'; readonly formation: string }
  | { readonly kind: 'nodes'; readonly nodes: readonly NodeId[] }
  | ({ readonly kind: 'capable' } & CapableFilter)

/** The form of a scope, in arguments and in the document. */
export const scopeSchema: z.ZodType<DistributionScope> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('all') }),
  z.strictObject({ kind: z.literal('formation'), formation: text }),
  z.strictObject({ kind: z.literal('nodes'), nodes: z.array(z.string().transform(parseNodeId)).max(2000) }),
  z.strictObject({
    kind: z.literal('capable'),
    minGpuGb: amount.optional(),
    cpuArch: text.optional(),
    minStorageMb: amount.optional(),
    labels: z.record(text, z.string().max(128)).optional()
  })
])

/** Every member, late joiners too. */
export function all(): DistributionScope {
  return { kind: 'all' }
}

/** The members of a formation. */
export function formation(id: string): DistributionScope {
  return { kind: 'formation', formation: id }
}

/** These nodes. */
export function nodes(ids: readonly NodeId[]): DistributionScope {
  return { kind: 'nodes', nodes: [...ids] }
}

/**
 * Nodes that can do this. `minGpuGb` is the memory of one GPU in GiB, `minStorageMb` the space in MiB that models may take, those
 * that are there among them: what a node takes in does not put it out of the scope.
 */
export function capable(filter: CapableFilter): DistributionScope {
  return { kind: 'capable', ...filter }
}

/** Why a member is not in a scope; undefined when it is. Pure. */
export function exclusion(scope: DistributionScope, member: Member): string | undefined {
  switch (scope.kind) {
    case 'all':
      return undefined
    case 'formation':
      return member.formations.includes(scope.formation) ? undefined : `not in formation ${scope.formation}`
    case 'nodes':
      return scope.nodes.includes(member.nodeId) ? undefined : 'not named'
    case 'capable':
      return incapable(scope, member)
  }
}

const mbPerGb = 1024

function incapable(filter: CapableFilter, { capabilities, labels }: Member): string | undefined {
  const gpuMb = filter.minGpuGb === undefined ? undefined : filter.minGpuGb * mbPerGb
  const wrongLabel = Object.entries(filter.labels ?? {}).find(([key, value]) => labels[key] !== value)
  return (
    below('GPU memory', gpuMb, gpuMemoryMb(capabilities)) ??
    below('free storage', filter.minStorageMb, capabilities.storageMb) ??
    (filter.cpuArch === undefined || filter.cpuArch === capabilities.cpuArch
      ? undefined
      : `CPU architecture ${capabilities.cpuArch ?? 'unknown'}, asked for ${filter.cpuArch}`) ??
    (wrongLabel === undefined ? undefined : `label ${wrongLabel[0]} is not ${wrongLabel[1]}`)
  )
}

/** A demand on an unknown amount is not met: unknown is neither zero nor enough. */
function below(subject: string, required: number | undefined, available: number | undefined): string | undefined {
  if (required === undefined || required === 0 || (available !== undefined && available >= required)) return undefined
  return `${subject} ${available === undefined ? 'unknown' : `${available} MiB`}, asked for ${required} MiB`
}
