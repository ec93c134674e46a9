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
  type VariantId,
  type Version
} from '../core/ids.js'
import { Listeners } from '../core/listeners.js'
import type { Logger } from '../core/logger.js'
import type { Blobs } from '../blobs/blobs.js'
import { openAuthority, type Authority } from '../identity/authority.js'
import type { SharedDocument } from '../record/shared-document.js'
import { OfferIndex, type PublishedRelease } from './offers.js'
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
  /** How many publishers must sign a release. @default one, anybody */
  readonly authority?: Authority
  readonly logger: Logger
}

/** The models and versions that the mesh knows (features A37). */
export class ModelRegistry {
  readonly #components: ModelRegistryComponents
  readonly #authority: Authority
  readonly #offers = new OfferIndex()
  readonly #listeners: Listeners<[model: ModelId]>
  #publishing: Promise<unknown> = Promise.resolve()

  constructor(components: ModelRegistryComponents) {
    this.#components = components
    this.#listeners = new Listeners('releases', components.logger)
    components.document.register(releaseKind)
    components.document.subscribe(releaseKind, (...changes) => this.#changed(this.#offers.learn(...changes)))
    this.#authority = components.authority ?? openAuthority
    // Another root may ask for more signatures, or fewer.
    this.#authority.onChange(() => this.#changed(this.#offers.models()))
  }

  /**
   * Chunks and stores the files of a release and signs it. Publishing the same bytes again does nothing, but under a fleet root
   * that another publisher signs them too. What comes back says how many signatures are missing until it counts.
   *
   * @throws MurmurateError `NOT_PERMITTED` when the fleet root does not make this node a publisher, `CONFLICT` when the version exists with other bytes, `FILE_CHANGED` when a file disappears
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
    this.#components.document.assertMayWrite(releaseKind, releasePage(model, version))
    return this.#inTurn(async () => {
      const release = await this.#ingest({ model, version, variants: [], metadata }, inputs, options)
      try {
        return await this.#announce(release)
      } catch (error) {
        await this.#discard(release)
        throw error
      }
    })
  }

  /** One after the other: what one discards, another may be about to publish. */
  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#publishing.then(task)
    this.#publishing = result.catch(() => {})
    return result
  }

  /** Signs the release unless that adds nothing; another node may write the same version with other bytes meanwhile. */
  async #announce(release: Release): Promise<PublishedRelease> {
    const { model, version } = release
    const id = releaseId(release)
    const counts = this.get(model, version)
    // Without a fleet root a second signature proves nothing.
    if (counts === undefined || (counts.id === id && this.#authority.id !== '')) {
      await this.#components.document.write(releaseKind, releasePage(model, version), release)
    }
    const offers = this.#offersOf(model, version)
    const winner = offers.find(({ missing }) => missing === 0) ?? offers.find((offer) => offer.id === id)
    if (winner?.id === id) return winner
    const { id: existing, publisher } = winner ?? {}
    throw new MurmurateError('CONFLICT', `${model} ${version} exists already with other bytes`, {
      details: { model, version, existing, offered: id, publisher }
    })
  }

  /** The release of a version, if one is known here that enough publishers signed. */
  get(model: string, version: string): PublishedRelease | undefined {
    return this.#offersOf(parseModelId(model), parseVersion(version)).find(({ missing }) => missing === 0)
  }

  /** Releases that do not count yet, with who signed them; of one model or of all. */
  pending(model?: string): PublishedRelease[] {
    const models = model === undefined ? this.#offers.models().sort() : [parseModelId(model)]
    const versions = models.flatMap((each) => this.#offers.versions(each).map((version) => [each, version] as const))
    return versions.flatMap((names) => this.#offersOf(...names).filter(({ missing }) => missing > 0))
  }

  /**
   * The release that a rollout of this version can name: the one that counts, or else the only one that waits for signatures.
   *
   * @throws MurmurateError `MODEL_NOT_FOUND`
   */
  offered(model: string, version: string): PublishedRelease {
    const [only, ...others] = this.#offersOf(parseModelId(model), parseVersion(version))
    return only === undefined || others.length > 0 ? this.require(model, version) : only
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

  /** All models with a release that counts. */
  models(): ModelId[] {
    return this.#offers
      .models()
      .filter((model) => this.versions(model).length > 0)
      .sort()
  }

  /** The versions of a model that count, newest first. */
  versions(model: string): Version[] {
    const versions = this.#offers.versions(parseModelId(model))
    return versions.filter((version) => this.get(model, version)).sort((a, b) => compareBuild(b, a))
  }

  /** Hears of models whose releases changed. */
  onRelease(listener: (model: ModelId) => void): () => void {
    return this.#listeners.add(listener)
  }

  #offersOf(model: ModelId, version: Version): PublishedRelease[] {
    return this.#offers.of(model, version, this.#authority.releaseThreshold)
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
    for (const model of this.#offers.models()) {
      for (const version of this.#offers.versions(model)) {
        const known = this.#offersOf(model, version).flatMap((offer) => offer.release.variants)
        for (const { manifest } of known) kept.add(manifest)
      }
    }
    for (const { manifest } of release.variants) if (!kept.has(manifest)) await this.#components.blobs.remove(manifest)
  }

  #changed(models: Iterable<ModelId>): void {
    for (const model of models) this.#listeners.tell(model)
  }
}

function refuseDuplicates(ids: readonly string[]): void {
  const twice = ids.find((id, at) => ids.indexOf(id) !== at)
  if (twice !== undefined) throw new MurmurateError('INVALID_REQUEST', `variants: ${twice} is given twice`)
}
