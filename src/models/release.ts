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
  type Version
} from '../core/ids.js'
import { cidOf } from '../blobs/cid.js'
import type { PageKind } from '../record/policy.js'

const text = z.string().min(1).max(64)
const megabytes = z.number().nonnegative().finite()

/**
 * What a variant needs of a node. Absent fields demand nothing. A field of a later version is refused, here and in the
 * document: a node that ignored a demand would run what it must not.
 */
export const requirementsSchema = z.strictObject({
  /** Memory of one GPU, MiB. */
  gpuMemoryMb: megabytes.optional(),
  /** RAM, MiB. */
  memoryMb: megabytes.optional(),
  /** Free disk space, MiB; the size of the variant is always demanded. */
  storageMb: megabytes.optional(),
  /** Any of these, as `uname -m` has them. */
  cpuArch: z.array(text).min(1).max(16).optional()
})

/** What a variant needs of a node. */
export type Requirements = z.infer<typeof requirementsSchema>

const variantSchema = z.strictObject({
  id: z.string().transform(parseVariantId),
  /** Root of the files' manifest. */
  manifest: z.string().transform(parseCid),
  sizeBytes: z.int().nonnegative(),
  /** For people and for the selector: `fp16`, `int8`. */
  precision: text.optional(),
  /** Execution providers that can run it; a node needs one of them. Empty: any node can. */
  providers: z.array(text).max(32),
  requirements: requirementsSchema
})

/** One build of a model version. */
export type Variant = z.infer<typeof variantSchema>

/** Facts for people. */
export const metadataSchema = z
  .record(text, z.string().max(1024))
  .refine((map) => Object.keys(map).length <= 64, 'at most 64 keys')

const releaseSchema = z.strictObject({
  model: z.string().transform(parseModelId),
  version: z.string().transform(parseVersion),
  variants: z
    .array(variantSchema)
    .min(1)
    .max(64)
    .refine((variants) => new Set(variants.map(({ id }) => id)).size === variants.length, 'a variant is given twice'),
  metadata: metadataSchema
})

/** One model version with all its variants: immutable, signed by its publisher. */
export type Release = z.infer<typeof releaseSchema>

/** Pages `release/<model>/<version>`: what was published, once. */
export const releaseKind: PageKind<Release> = {
  name: 'release',
  schema: releaseSchema,
  immutable: true,
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
