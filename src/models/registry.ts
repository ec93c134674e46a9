import { basename } from 'node:path'
import { z } from 'zod'
import { compareBuild } from 'semver'
import type { AbortOptions } from '../core/abort.js'
import { check } from '../core/codec.js'
import { MurmurateError } from '../core/errors.js'
import {
  parseModelId,
  parseVariantId,
  parseVersion,
  type Cid,
  type ModelId,
  type NodeId,
  type VariantId,
  type Version
} from '../core/ids.js'
import { Listeners } from '../core/listeners.js'
import type { Logger } from '../core/logger.js'
import type { Blobs } from '../blobs/blobs.js'
import type { Entry } from '../record/entry.js'
import type { SharedDocument } from '../record/shared-document.js'
import {
  metadataSchema,
  releaseId,
  releaseKind,
  releasePage,
  requirementsSchema,
  type Release,
  type Variant
} from './release.js'

/** One variant to publish. */
export interface VariantInput {
  /** Its name, `fp16-cuda`. */
  readonly id: string
  /** Its files; a name of its own where the base name of the path will not do. */
  readonly files: readonly { readonly path: string; readonly name?: string | undefined }[]
  /** `fp16`, `int8`. */
  readonly precision?: string | undefined
  /** Execution providers that can run it; none given: any node can. */
  readonly providers?: readonly string[] | undefined
  readonly requirements?: z.infer<typeof requirementsSchema> | undefined
}

/** How far a variant is being published. */
export interface PublishProgress {
  readonly variant: VariantId
  readonly hashedBytes: number
  readonly totalBytes: number
}

/** Options of publishing. */
export interface PublishOptions extends AbortOptions {
  /** Facts for people, kept with the release. */
  readonly metadata?: Readonly<Record<string, string>>
  /** Hears how much of a variant has been chunked and stored. */
  readonly onProgress?: (progress: PublishProgress) => void
}

/** A release as the registry hands it out. */
export interface PublishedRelease {
  readonly id: Cid
  readonly release: Release
  /** Who signed it; the first by id when several signed the same bytes. */
  readonly publisher: NodeId
  /** Whether different bytes were published under this version; the release with the lowest id then counts everywhere. */
  readonly conflicting: boolean
}

const nameText = z.string().min(1).max(255)
const variantInputSchema = z.strictObject({
  id: z.string(),
  files: z.array(z.strictObject({ path: z.string().min(1), name: nameText.optional() })).min(1),
  precision: z.string().min(1).max(64).optional(),
  providers: z.array(z.string().min(1).max(64)).max(32).optional(),
  requirements: requirementsSchema.optional()
})

type CheckedInput = z.infer<typeof variantInputSchema>

/** What the registry is built from. */
export interface ModelRegistryComponents {
  readonly document: SharedDocument
  readonly blobs: Pick<Blobs, 'ingest' | 'remove'>
  readonly logger: Logger
}

/** The models and versions that the mesh knows (features A37). */
export class ModelRegistry {
  readonly #components: ModelRegistryComponents
  readonly #releases = new Map<ModelId, Map<Version, PublishedRelease>>()
  readonly #listeners: Listeners<[model: ModelId]>
  #publishing: Promise<unknown> = Promise.resolve()

  constructor(components: ModelRegistryComponents) {
    this.#components = components
    this.#listeners = new Listeners('releases', components.logger)
    components.document.register(releaseKind)
    components.document.subscribe(releaseKind, (entries) => this.#learn(entries))
  }

  /**
   * Chunks and stores the files of a release and signs it. Publishing the same bytes again does nothing.
   *
   * @throws MurmurateError `CONFLICT` when the version exists with other bytes, `FILE_CHANGED` when a file disappears
   * or changes meanwhile, `INSUFFICIENT_STORAGE`, `INVALID_REQUEST`
   */
  async publish(
    modelId: string,
    versionText: string,
    variants: readonly VariantInput[],
    options: PublishOptions = {}
  ): Promise<PublishedRelease> {
    const model = parseModelId(modelId)
    const version = parseVersion(versionText)
    const inputs = check(variants, z.array(variantInputSchema).min(1).max(64), 'variants')
    refuseDuplicates(inputs.map((input) => parseVariantId(input.id)))
    const metadata = check({ ...options.metadata }, metadataSchema, 'metadata')
    return this.#inTurn(async () => {
      const release = await this.#ingest({ model, version, variants: [], metadata }, inputs, options)
      try {
        await this.#announce(release)
      } catch (error) {
        await this.#discard(release)
        throw error
      }
      return this.require(model, version)
    })
  }

  /** One after the other: what one discards, another may be about to publish. */
  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#publishing.then(task)
    this.#publishing = result.catch(() => {})
    return result
  }

  /** Writes the release unless it is known; another node may write the same version with other bytes meanwhile. */
  async #announce(release: Release): Promise<void> {
    const { model, version } = release
    const id = releaseId(release)
    if (this.get(model, version) === undefined) {
      await this.#components.document.write(releaseKind, releasePage(model, version), release)
    }
    const { id: existing, publisher } = this.require(model, version)
    if (existing === id) return
    throw new MurmurateError('CONFLICT', `${model} ${version} exists already with other bytes`, {
      details: { model, version, existing, offered: id, publisher }
    })
  }

  /** A release, if it is known here. */
  get(model: string, version: string): PublishedRelease | undefined {
    return this.#releases.get(parseModelId(model))?.get(parseVersion(version))
  }

  /** @throws MurmurateError `MODEL_NOT_FOUND` */
  require(model: string, version: string): PublishedRelease {
    const found = this.get(model, version)
    if (found !== undefined) return found
    const others = this.versions(model).slice(0, 5)
    const hint = others.length === 0 ? 'no version of it is known here' : `known versions: ${others.join(', ')}`
    throw new MurmurateError('MODEL_NOT_FOUND', `${model} ${version} is not known here; ${hint}`, {
      details: { model, version }
    })
  }

  /** All models. */
  models(): ModelId[] {
    return [...this.#releases.keys()].sort()
  }

  /** The versions of a model, newest first. */
  versions(model: string): Version[] {
    return [...(this.#releases.get(parseModelId(model))?.keys() ?? [])].sort((a, b) => compareBuild(b, a))
  }

  /** Hears of models that got a new release. */
  onRelease(listener: (model: ModelId) => void): () => void {
    return this.#listeners.add(listener)
  }

  async #ingest(draft: Release, inputs: readonly CheckedInput[], options: PublishOptions): Promise<Release> {
    const variants: Variant[] = []
    try {
      for (const input of inputs) variants.push(await this.#ingestVariant(input, options))
      // In one order, so that the same bytes make the same release however they are listed.
      return { ...draft, variants: variants.toSorted((a, b) => (a.id < b.id ? -1 : 1)) }
    } catch (error) {
      await this.#discard({ ...draft, variants })
      throw error
    }
  }

  async #ingestVariant(input: CheckedInput, { signal, onProgress }: PublishOptions): Promise<Variant> {
    const id = parseVariantId(input.id)
    const files = input.files.map(({ path, name }) => ({ path, name: name ?? basename(path) }))
    const stored = await this.#components.blobs.ingest(files, {
      signal,
      onProgress: (progress) => onProgress?.({ variant: id, ...progress })
    })
    return {
      id,
      manifest: stored.manifest,
      sizeBytes: stored.size,
      ...(input.precision === undefined ? {} : { precision: input.precision }),
      providers: input.providers ?? [],
      requirements: input.requirements ?? {}
    }
  }

  /** Frees what was stored for a release that did not come to be, unless another release has the same files. */
  async #discard(release: Release): Promise<void> {
    const kept = new Set<Cid>()
    for (const versions of this.#releases.values()) {
      for (const known of versions.values()) for (const { manifest } of known.release.variants) kept.add(manifest)
    }
    for (const { manifest } of release.variants) if (!kept.has(manifest)) await this.#components.blobs.remove(manifest)
  }

  #learn(entries: readonly Entry<Release>[]): void {
    for (const { writer, body } of entries) {
      const versions = this.#releases.get(body.model) ?? new Map<Version, PublishedRelease>()
      this.#releases.set(body.model, versions)
      const offered = { id: releaseId(body), release: body, publisher: writer, conflicting: false }
      versions.set(body.version, merge(versions.get(body.version), offered))
      this.#listeners.tell(body.model)
    }
  }
}

/** Two publishers, one version: the same result in whatever order they are heard of. */
function merge(known: PublishedRelease | undefined, offered: PublishedRelease): PublishedRelease {
  if (known === undefined) return offered
  const conflicting = known.conflicting || known.id !== offered.id
  const key = ({ id, publisher }: PublishedRelease): string => `${id} ${publisher}`
  return { ...(key(known) <= key(offered) ? known : offered), conflicting }
}

function refuseDuplicates(ids: readonly string[]): void {
  const twice = ids.find((id, at) => ids.indexOf(id) !== at)
  if (twice !== undefined) throw new MurmurateError('INVALID_REQUEST', `variants: ${twice} is given twice`)
}
