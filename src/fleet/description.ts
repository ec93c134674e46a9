import { z } from 'zod'
import { isOwnBucket } from '../record/bucket.js'
import type { PageKind } from '../record/policy.js'
import { capabilitiesSchema, type Capabilities } from './capabilities.js'

const label = z.string().min(1).max(64)

/** What scopes can ask for. */
export const labelsSchema = z
  .record(label, z.string().max(128))
  .refine((labels) => Object.keys(labels).length <= 32, 'at most 32 labels')

/** What a node says of itself. */
export interface NodeDescription {
  /** For people; not unique. */
  readonly name: string
  readonly capabilities: Capabilities
  /** The groups it belongs to. */
  readonly formations: readonly string[]
  /** What scopes can ask for. */
  readonly labels: Readonly<Record<string, string>>
  /** Version of this library. */
  readonly software: string
}

/** The form of a description. */
export const nodeSchema: z.ZodType<NodeDescription> = z.object({
  name: z.string().min(1).max(64),
  capabilities: capabilitiesSchema,
  formations: z.array(label).max(16),
  labels: labelsSchema,
  software: z.string().max(64)
})

/** Pages `node/<bucket>`: every member describes itself, in its own bucket. */
export const nodeKind: PageKind<NodeDescription> = {
  name: 'node',
  schema: nodeSchema,
  maxPagesPerWriter: 1,
  isPage: (page) => /^node\/\d{1,2}$/.test(page),
  mayWrite: (page, writer) => isOwnBucket(page, 'node', writer)
}
