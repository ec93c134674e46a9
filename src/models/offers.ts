import type { Cid, ModelId, NodeId, Version } from '../core/ids.js'
import type { Entry } from '../record/entry.js'
import { releaseId, type Release } from './release.js'

/** A release as the registry hands it out. */
export interface PublishedRelease {
  readonly id: Cid
  readonly release: Release
  /** Who signed it; the first by id when several signed the same bytes. */
  readonly publisher: NodeId
  /** Everybody who signed these bytes, by id. */
  readonly publishers: readonly NodeId[]
  /** How many signatures of other publishers it lacks to count; 0 when it counts. */
  readonly missing: number
  /** Whether different bytes count under this version too; the release with the lowest id then counts everywhere. */
  readonly conflicting: boolean
}

type Offers = Map<Cid, { readonly release: Release; readonly publishers: Set<NodeId> }>

/** What publishers signed, by model and version: at any time a function of the document's present entries. */
export class OfferIndex {
  readonly #offers = new Map<ModelId, Map<Version, Offers>>()

  /** Takes new entries, and those that left the document; returns the models that they concern. */
  learn(entries: readonly Entry<Release>[], removed: readonly Entry<Release>[]): Set<ModelId> {
    for (const { writer, body } of removed) this.#remove(body, writer)
    for (const { writer, body } of entries) this.#add(body, writer)
    return new Set([...entries, ...removed].map(({ body }) => body.model))
  }

  /** All models of which a version was signed. */
  models(): ModelId[] {
    return [...this.#offers.keys()]
  }

  /** All versions of a model that were signed. */
  versions(model: ModelId): Version[] {
    return [...(this.#offers.get(model)?.keys() ?? [])]
  }

  /** Everything that was signed under a version, the lowest id first. A release counts when `threshold` publishers signed it. */
  of(model: ModelId, version: Version, threshold: number): PublishedRelease[] {
    const offers = [...(this.#offers.get(model)?.get(version) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1))
    const conflicting = offers.filter(([, { publishers }]) => publishers.size >= threshold).length > 1
    return offers.flatMap(([id, offer]) => {
      const publishers = [...offer.publishers].sort()
      const [publisher] = publishers
      const missing = Math.max(0, threshold - publishers.length)
      if (publisher === undefined) return []
      return { id, release: offer.release, publisher, publishers, missing, conflicting: conflicting && missing === 0 }
    })
  }

  #add(release: Release, publisher: NodeId): void {
    const versions = this.#offers.get(release.model) ?? new Map<Version, Offers>()
    this.#offers.set(release.model, versions)
    const offers = versions.get(release.version) ?? (new Map() as Offers)
    versions.set(release.version, offers)
    const id = releaseId(release)
    const offer = offers.get(id) ?? { release, publishers: new Set<NodeId>() }
    // A publisher has one release of a version. Of two that it signed for one clock, the document keeps the later to come.
    for (const [other, { publishers }] of offers) {
      if (other !== id && publishers.delete(publisher) && publishers.size === 0) offers.delete(other)
    }
    offers.set(id, offer)
    offer.publishers.add(publisher)
  }

  #remove(release: Release, publisher: NodeId): void {
    const versions = this.#offers.get(release.model)
    const offers = versions?.get(release.version)
    const id = releaseId(release)
    const offer = offers?.get(id)
    if (offer?.publishers.delete(publisher) !== true || offer.publishers.size > 0) return
    offers?.delete(id)
    if (offers?.size === 0) versions?.delete(release.version)
    if (versions?.size === 0) this.#offers.delete(release.model)
  }
}
