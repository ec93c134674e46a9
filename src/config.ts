import { z } from 'zod'
import type { Environment } from './core/environment.js'
import type { Logger } from './core/logger.js'
import { capabilitiesSchema, type Capabilities } from './fleet/capabilities.js'
import { labelsSchema } from './fleet/membership.js'
import { maxRootVersions } from './identity/fleet-root.js'
import type { PresencePresetName } from './fleet/presence-presets.js'
import type { RuntimeFactory } from './rollout/runtime.js'
import { maxKeptVersions } from './rollout/status.js'

/** What a node can be told. Only the first two are needed. */
export interface NodeInit {
  /** Directory of this node alone: key, document, models. Made when missing. */
  readonly dataDir: string
  /** The secret that all nodes of the mesh share; make one with {@link createMeshSecret}. */
  readonly secret: string
  /**
   * The id of the fleet, `murmurate-fleet-1:` and 43 characters: then the fleet root says who may do what, and only nodes that
   * were told the same id are in the mesh. @default none: whoever has the secret may do everything
   */
  readonly fleet?: string
  /** Signed roots of the fleet that are known at the first start, from version 1 on, encoded. @default none: the peers tell */
  readonly roots?: readonly Uint8Array[]
  /** Name for people. @default the first characters of the node id */
  readonly name?: string
  /** Where to listen, as multiaddrs. @default `/ip4/0.0.0.0/tcp/0`: all interfaces, a free port */
  readonly listen?: readonly string[]
  /** Peers to dial where multicast does not reach, as multiaddrs. @default none */
  readonly peers?: readonly string[]
  /** Whether to find peers on the local network by mDNS. @default true */
  readonly discovery?: boolean
  /** Declares what the probe cannot find out, or overrules it. */
  readonly capabilities?: Capabilities
  /** Groups that this node belongs to. */
  readonly formations?: readonly string[]
  /** Labels that scopes can ask for. */
  readonly labels?: Readonly<Record<string, string>>
  /** Most bytes that models may take on this node's disk. @default as much as is free */
  readonly storageBytes?: number
  /** How closely nodes watch each other: the same on all nodes of a mesh. @default `lan` */
  readonly presence?: PresencePresetName
  /** What serves the models. @default the directory runtime in `<dataDir>/models` */
  readonly runtime?: RuntimeFactory
  /** Figures that seldom need changing. */
  readonly tuning?: Partial<Tuning>
  /** Where log lines go. @default nowhere */
  readonly logger?: Logger
  /** Time and chance; tests bring their own. */
  readonly environment?: Environment
}

/** Figures with their units. Periods and time limits are above 0; where 0 means "none", it is allowed. */
export interface Tuning {
  /** Entries written within this time are gossiped together, ms. A person notices no less. @default 100 */
  readonly gossipTickMs: number
  /** Time between two anti-entropy rounds with a random peer, ms: gossip that was lost is made up for within two. @default 20000 */
  readonly syncPeriodMs: number
  /** A peer that says nothing for this long in a sync round is given up, ms. @default 10000 */
  readonly syncSilenceMs: number
  /** The record log is rewritten when it is above this and four times what it holds, bytes. @default 4194304 */
  readonly compactAboveBytes: number
  /** Interest in progress lasts this long after it was last expressed, ms. @default 30000 */
  readonly interestMs: number
  /** A node reports progress at most this often, ms. @default 250 */
  readonly progressPeriodMs: number
  /** Progress that was not renewed for this long is forgotten, ms: several lost pulses. @default 15000 */
  readonly progressTtlMs: number
  /** A node unreachable for longer than this is shown as blocked by its network, ms. @default 60000 */
  readonly offlineAfterMs: number
  /** A node unreachable for longer than this is a candidate for `fleet.forget`, ms; 0: none ever is. @default 604800000, a week */
  readonly expireAfterMs: number
  /** A subscription hands out at most one verdict in this time, ms. @default 100 */
  readonly coalesceMs: number
  /** Transfers that run at a time on a node; one more lets a small model pass a large one. @default 2 */
  readonly parallelTransfers: number
  /** A runtime's `load` may take this long, ms; PEAT's directive has the same 300 s. @default 300000 */
  readonly loadTimeoutMs: number
  /** A runtime's `check` may take this long, ms. @default 60000 */
  readonly checkTimeoutMs: number
  /** How long the check must keep passing before a version counts as operational, ms. @default 0 */
  readonly soakMs: number
  /** Time between two checks during the soak, ms. @default 1000 */
  readonly soakCheckPeriodMs: number
  /** Versions of a model that stay on disk, the running one among them, 1 to 32. @default 2 */
  readonly keepVersions: number
  /** What is blocked is looked at again after this time, ms, doubled each time. @default 1000 */
  readonly retryMs: number
  /** Longest time between two looks at what is blocked, ms. @default 30000 */
  readonly retryMaxMs: number
}

/** The defaults of all figures. */
export const defaultTuning: Tuning = Object.freeze({
  gossipTickMs: 100,
  syncPeriodMs: 20_000,
  syncSilenceMs: 10_000,
  compactAboveBytes: 4 * 1024 * 1024,
  interestMs: 30_000,
  progressPeriodMs: 250,
  progressTtlMs: 15_000,
  offlineAfterMs: 60_000,
  expireAfterMs: 7 * 24 * 3_600_000,
  coalesceMs: 100,
  parallelTransfers: 2,
  loadTimeoutMs: 300_000,
  checkTimeoutMs: 60_000,
  soakMs: 0,
  soakCheckPeriodMs: 1000,
  keepVersions: 2,
  retryMs: 1000,
  retryMaxMs: 30_000
})

/** Nodes of one site. */
export const defaultPresence: PresencePresetName = 'lan'

/** Listens on all interfaces, on a free port: the mesh secret keeps strangers out. */
export const defaultListen: readonly string[] = Object.freeze(['/ip4/0.0.0.0/tcp/0'])

const levels = ['debug', 'info', 'warn', 'error'] as const

/** Whether a value is an object with these members. */
function has(...members: readonly string[]): (value: unknown) => boolean {
  return (value) => typeof value === 'object' && value !== null && members.every((member) => member in value)
}

const text = z.string().min(1)
const figures = z.partialRecord(z.enum(Object.keys(defaultTuning)), z.number().nonnegative().finite())
const count = z.int().positive()
const mayBeZero: ReadonlySet<string> = new Set<keyof Tuning>([
  'gossipTickMs',
  'compactAboveBytes',
  'progressPeriodMs',
  'offlineAfterMs',
  'expireAfterMs',
  'coalesceMs',
  'soakMs'
])
/** Of these there must be one: no transfer could run, and the version in service would be removed. */
const tuningSchema = figures
  .refine(
    ({ parallelTransfers = 1, keepVersions = 1 }) =>
      [parallelTransfers, keepVersions].every((value) => count.safeParse(value).success),
    'parallelTransfers and keepVersions are whole numbers of at least 1'
  )
  .refine(({ keepVersions = 1 }) => keepVersions <= maxKeptVersions, `keepVersions is at most ${maxKeptVersions}`)
  // With a period of 0 a node does nothing else, with a limit of 0 nothing ends in time.
  .refine(
    (given) => Object.entries(given).every(([name, value = 1]) => value > 0 || mayBeZero.has(name)),
    `only ${[...mayBeZero].join(', ')} may be 0`
  )
/** The form of `NodeInit`. */
export const nodeInitSchema = z.strictObject({
  dataDir: text,
  secret: text,
  fleet: text.optional(),
  roots: z.array(z.instanceof(Uint8Array)).max(maxRootVersions).optional(),
  name: text.max(64).optional(),
  listen: z.array(text).optional(),
  peers: z.array(text).optional(),
  discovery: z.boolean().optional(),
  capabilities: z.strictObject(capabilitiesSchema.shape).optional(),
  formations: z.array(text.max(64)).max(16).optional(),
  labels: labelsSchema.optional(),
  storageBytes: z.int().nonnegative().optional(),
  presence: z.literal(['lan', 'wan', 'lowLatency']).optional(),
  tuning: tuningSchema.optional(),
  runtime: z.function().optional(),
  logger: z.custom<Logger>(has(...levels), `needs the methods ${levels.join(', ')}`).optional(),
  environment: z.custom<Environment>(has('clock', 'random'), 'needs a clock and a random').optional()
})
