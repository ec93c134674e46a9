import { z } from 'zod'
import { encode } from '../core/codec.js'
import {
  parseCid,
  parseModelId,
  parsePageId,
  parseVariantId,
  parseVersion,
  type Cid,
  type ModelId,
  type PageId,
  type VariantId,
  type Version
} from '../core/ids.js'
import { cidOf } from '../blobs/cid.js'
import type { PageKind } from '../record/policy.js'

const text = z.string().min(1).max(64)
const megabytes = z.number().nonnegative().finite()

/** What a variant needs of a node. Absent fields demand nothing. */
export interface Requirements {
  /** Memory of one GPU, MiB. */
  readonly gpuMemoryMb?: number | undefined
  /** RAM, MiB. */
  readonly memoryMb?: number | undefined
  /** Free disk space, MiB; the size of the variant is always demanded. */
  readonly storageMb?: number | undefined
  /** Any of these, as `uname -m` has them. */
  readonly cpuArch?: readonly string[] | undefined
}

/** One build of a model version. */
export interface Variant {
  readonly id: VariantId
  /** Root of the files' manifest. */
  readonly manifest: Cid
  readonly sizeBytes: number
  /** For people and for the selector: `fp16`, `int8`. */
  readonly precision?: string | undefined
  /** Execution providers that can run it; a node needs one of them. Empty: any node can. */
  readonly providers: readonly string[]
  readonly requirements: Requirements
}

/** One model version with all its variants: immutable, signed by its publisher. */
export interface Release {
  readonly model: ModelId
  readonly version: Version
  readonly variants: readonly Variant[]
  /** Facts for people. */
  readonly metadata: Readonly<Record<string, string>>
}

/**
 * The form of `Requirements`. A field of a later version is refused, here and in the document: a node that ignored a demand
 * would run what it must not.
 */
export const requirementsSchema: z.ZodType<Requirements> = z.strictObject({
  gpuMemoryMb: megabytes.optional(),
  memoryMb: megabytes.optional(),
  storageMb: megabytes.optional(),
  cpuArch: z.array(text).min(1).max(16).optional()
})

const variantSchema: z.ZodType<Variant> = z.strictObject({
  id: z.string().transform(parseVariantId),
  manifest: z.string().transform(parseCid),
  sizeBytes: z.int().nonnegative(),
  precision: text.optional(),
  providers: z.array(text).max(32),
  requirements: requirementsSchema
})

/** Facts for people. */
export const metadataSchema = z
  .record(text, z.string().max(1024))
  .refine((map) => Object.keys(map).length <= 64, 'at most 64 keys')

const releaseSchema: z.ZodType<Release> = z.strictObject({
  model: z.string().transform(parseModelId),
  version: z.string().transform(parseVersion),
  variants: z
    .array(variantSchema)
    .min(1)
    .max(64)
    .refine((variants) => new Set(variants.map(({ id }) => id)).size === variants.length, 'a variant is given twice'),
  metadata: metadataSchema
})

/** Pages `release/<model>/<version>`: what was published, once. */
export const releaseKind: PageKind<Release> = {
  name: 'release',
  schema: releaseSchema,
  immutable: true,
  role: 'publisher',
  maxPagesPerWriter: 4096,
  isPage: (page) => page.split('/').length === 3,
  mayWrite: (page, _writer, body) => page === releasePage(body.model, body.version)
}

/** The page of a model version. */
export function releasePage(model: ModelId, version: Version): PageId {
  return parsePageId(`release/${model}/${version}`)
}

/** Names a release by its content: two releases with the same id have the same bytes in every variant. */
export function releaseId(release: Release): Cid {
  return cidOf(encode(release))
}
