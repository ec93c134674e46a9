import type { Capabilities } from '../fleet/capabilities.js'
import { gpuMemoryMb } from '../fleet/capabilities.js'
import type { VariantId } from '../core/ids.js'
import type { Release, Variant } from './release.js'

/** What an operator may ask of the choice (features A17). */
export interface VariantSelector {
  readonly preferredPrecision?: string | undefined
  /** The variant must run on all of these. */
  readonly requiredProviders?: readonly string[] | undefined
  readonly maxSizeBytes?: number | undefined
}

/** Why a variant does not fit a node. */
export interface VariantRejection {
  readonly variant: VariantId
  readonly reason: 'incompatibleCapabilities' | 'insufficientGpuMemory' | 'insufficientStorage'
  /** What was compared: `GPU memory`, `CPU architecture`. */
  readonly subject: string
  /** Numbers where there are any; `available` is absent when the node does not know. */
  readonly required?: number
  readonly available?: number
  readonly unit?: 'MiB' | 'bytes'
  /** One sentence for people. */
  readonly message: string
}

/** The choice for one node: a variant, or none and why each was rejected. */
export interface VariantChoice {
  readonly variant: Variant | undefined
  readonly rejections: readonly VariantRejection[]
}

/** What the choice depends on. */
export interface VariantQuestion {
  readonly release: Release
  readonly capabilities: Capabilities
  readonly selector?: VariantSelector | undefined
  /** Free space where it is not the same for all variants, MiB: what an interrupted transfer took counts for its own only. */
  readonly storageMbFor?: ReadonlyMap<VariantId, number> | undefined
  /** Takes this one or none. */
  readonly pinned?: VariantId | undefined
  /** Best provider first. */
  readonly providerOrder?: readonly string[] | undefined
}

/** Fastest first, as ADR-022 of PEAT orders them (features A53). */
const defaultProviderOrder: readonly string[] = Object.freeze(['tensorrt', 'cuda', 'openvino', 'coreml', 'cpu'])

/**
 * Chooses the variant for a node: those that fit, then by best provider, then preferred precision, then the largest.
 * Pure: the same on every node that asks.
 */
export function selectVariant(question: VariantQuestion): VariantChoice {
  const rejections: VariantRejection[] = []
  const fitting: Variant[] = []
  for (const variant of question.release.variants) {
    const rejection = reject(variant, question)
    if (rejection === undefined) fitting.push(variant)
    else rejections.push(rejection)
  }
  const [best] = fitting.toSorted((a, b) => compare(a, b, question))
  return { variant: best, rejections }
}

/** The rejection that comes closest to a fit: the one that fell at the latest of the checks. */
export function closestRejection(rejections: readonly VariantRejection[]): VariantRejection | undefined {
  const rank = { incompatibleCapabilities: 0, insufficientGpuMemory: 1, insufficientStorage: 2 }
  return rejections.toSorted((a, b) => rank[b.reason] - rank[a.reason] || missing(a) - missing(b))[0]
}

function missing({ required, available }: VariantRejection): number {
  return (required ?? Infinity) - (available ?? 0)
}

function compare(a: Variant, b: Variant, { capabilities, selector, providerOrder }: VariantQuestion): number {
  const order = providerOrder ?? defaultProviderOrder
  const preferred = ({ precision }: Variant): number => (precision === selector?.preferredPrecision ? 0 : 1)
  return (
    bestProvider(a, capabilities, order) - bestProvider(b, capabilities, order) ||
    (selector?.preferredPrecision === undefined ? 0 : preferred(a) - preferred(b)) ||
    b.sizeBytes - a.sizeBytes ||
    (a.id < b.id ? -1 : 1)
  )
}

/** Rank of the best provider that both sides have; a variant that needs none ranks behind all named ones. */
function bestProvider(variant: Variant, capabilities: Capabilities, order: readonly string[]): number {
  const shared = variant.providers.filter((provider) => capabilities.providers?.includes(provider))
  return Math.min(
    order.length + 1,
    ...shared.map((provider) => (order.includes(provider) ? order.indexOf(provider) : order.length))
  )
}

type Check = (variant: Variant, question: VariantQuestion) => Omit<VariantRejection, 'variant'> | undefined

/** In order: what a node can never change first, what it may change next week last. */
const checks: readonly Check[] = [
  checkChoice,
  checkSelector,
  checkArchitecture,
  checkProviders,
  checkMemory,
  checkGpu,
  checkStorage
]

function reject(variant: Variant, question: VariantQuestion): VariantRejection | undefined {
  for (const check of checks) {
    const rejection = check(variant, question)
    if (rejection !== undefined) return { variant: variant.id, ...rejection }
  }
  return undefined
}

function incompatible(subject: string, message: string): Omit<VariantRejection, 'variant'> {
  return { reason: 'incompatibleCapabilities', subject, message }
}

function checkChoice(variant: Variant, { pinned }: VariantQuestion): ReturnType<Check> {
  if (pinned === undefined || pinned === variant.id) return undefined
  return incompatible('variant', `the rollout asks for variant ${pinned}`)
}

function checkSelector(variant: Variant, { selector }: VariantQuestion): ReturnType<Check> {
  const lacking = selector?.requiredProviders?.find((provider) => !variant.providers.includes(provider))
  if (lacking !== undefined) return incompatible('provider', `the rollout requires provider ${lacking}`)
  if (selector?.maxSizeBytes === undefined || variant.sizeBytes <= selector.maxSizeBytes) return undefined
  return incompatible('size', `it has ${variant.sizeBytes} bytes, the rollout allows ${selector.maxSizeBytes}`)
}

function checkArchitecture(
  { requirements }: Variant,
  { capabilities: { cpuArch } }: VariantQuestion
): ReturnType<Check> {
  if (requirements.cpuArch === undefined || (cpuArch !== undefined && requirements.cpuArch.includes(cpuArch)))
    return undefined
  return incompatible(
    'CPU architecture',
    `needs ${requirements.cpuArch.join(' or ')}, the node has ${cpuArch ?? 'an unknown one'}`
  )
}

function checkProviders({ providers }: Variant, { capabilities }: VariantQuestion): ReturnType<Check> {
  if (providers.length === 0 || providers.some((provider) => capabilities.providers?.includes(provider)))
    return undefined
  const known = capabilities.providers?.join(', ') ?? 'unknown ones'
  return incompatible('execution provider', `needs ${providers.join(' or ')}, the node has ${known}`)
}

function checkMemory({ requirements }: Variant, { capabilities }: VariantQuestion): ReturnType<Check> {
  return compareMegabytes('incompatibleCapabilities', 'RAM', requirements.memoryMb, capabilities.memoryMb)
}

function checkGpu({ requirements }: Variant, { capabilities }: VariantQuestion): ReturnType<Check> {
  return compareMegabytes('insufficientGpuMemory', 'GPU memory', requirements.gpuMemoryMb, gpuMemoryMb(capabilities))
}

function checkStorage(variant: Variant, { capabilities, storageMbFor }: VariantQuestion): ReturnType<Check> {
  const { id, requirements, sizeBytes } = variant
  const availableMb = storageMbFor?.get(id) ?? capabilities.storageMb
  const requiredMb = Math.max(requirements.storageMb ?? 0, Math.ceil(sizeBytes / 1024 / 1024))
  // Unknown free space is found out by trying: the store refuses with numbers before it takes a byte too many.
  if (availableMb === undefined) return undefined
  return compareMegabytes('insufficientStorage', 'free storage', requiredMb, availableMb)
}

function compareMegabytes(
  reason: VariantRejection['reason'],
  subject: string,
  required: number | undefined,
  available: number | undefined
): ReturnType<Check> {
  if (required === undefined || required === 0 || (available !== undefined && available >= required)) return undefined
  const has = available === undefined ? 'an unknown amount' : `${available} MiB`
  const message = `needs ${required} MiB of ${subject}, the node has ${has}`
  return { reason, subject, required, ...(available === undefined ? {} : { available }), unit: 'MiB', message }
}
