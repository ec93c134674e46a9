import { abortedError, type AbortOptions } from '../../src/core/abort.js'
import { encode } from '../../src/core/codec.js'
import { sleep, type Clock } from '../../src/core/environment.js'
import { MurmurateError } from '../../src/core/errors.js'
import type { Cid } from '../../src/core/ids.js'
import type { Artifact, Blobs, FetchOptions, IngestFile, IngestResult, TransferReport } from '../../src/blobs/blobs.js'
import { cidOf } from '../../src/blobs/cid.js'
import type { Runtime, RuntimeArtifact } from '../../src/rollout/runtime.js'

type UsedBlobs = Pick<Blobs, 'ingest' | 'fetch' | 'local' | 'remove' | 'availableBytes' | 'heldBytes'>

/** What all fake stores of a mesh know of manifests: sizes by manifest. */
export type FakeCatalog = Map<Cid, number>

/** Moves no bytes: a "file" is its path, and its size the number behind the last colon of it. */
export class FakeBlobs implements UsedBlobs {
  readonly held = new Set<Cid>()
  readonly fetched: Cid[] = []
  readonly removed: Cid[] = []
  /** Free space, bytes. */
  available = 1024 ** 3
  /** How long a fetch takes, ms. */
  fetchMs = 100
  /** Says how the next fetches fail. */
  failure: MurmurateError | undefined
  /** Said in each progress report. */
  stalledBecause: string | undefined
  /** Fetches that run at this moment. */
  active = 0
  readonly #clock: Clock
  readonly #catalog: FakeCatalog

  constructor(clock: Clock, catalog: FakeCatalog) {
    this.#clock = clock
    this.#catalog = catalog
  }

  ingest(files: readonly IngestFile[]): Promise<IngestResult> {
    if (files.some(({ path }) => path.startsWith('missing'))) {
      return Promise.reject(new MurmurateError('FILE_CHANGED', 'A file is missing'))
    }
    const manifest = cidOf(encode(files.map(({ name, path }) => [name, path])))
    const sizes = files.map(({ name, path }) => ({ name, size: Number(/:(\d+)$/.exec(path)?.[1] ?? 1000) }))
    const size = sizes.reduce((sum, file) => sum + file.size, 0)
    this.#catalog.set(manifest, size)
    this.held.add(manifest)
    return Promise.resolve({ manifest, size, files: sizes })
  }

  async fetch(manifest: Cid, options: FetchOptions = {}): Promise<{ artifact: Artifact; report: TransferReport }> {
    this.active += 1
    try {
      return await this.#fetch(manifest, options)
    } finally {
      this.active -= 1
    }
  }

  async #fetch(manifest: Cid, { signal, onProgress }: FetchOptions): ReturnType<Blobs['fetch']> {
    const totalBytes = this.#catalog.get(manifest) ?? 0
    const isHere = this.held.has(manifest)
    const step = (haveBytes: number): void => {
      const stalledBecause = this.stalledBecause
      const stall = stalledBecause === undefined ? {} : { stalledBecause }
      const receivedBytes = isHere ? 0 : haveBytes
      onProgress?.({
        phase: 'fetching',
        totalBytes,
        haveBytes,
        reusedBytes: 0,
        receivedBytes,
        fromPeers: new Map(),
        ...stall
      })
    }
    if (signal?.aborted === true) throw abortedError(signal)
    for (let part = 0; part < 4 && !isHere; part++) {
      step(Math.floor((totalBytes * part) / 4))
      await sleep(this.#clock, this.fetchMs / 4, signal)
      if (this.failure !== undefined) throw this.failure
    }
    if (this.stalledBecause !== undefined) await sleep(this.#clock, 1e9, signal)
    this.fetched.push(manifest)
    this.held.add(manifest)
    const heldBytes = isHere ? totalBytes : 0
    const plan = { totalBytes, heldBytes, reusableBytes: 0, missingBytes: totalBytes - heldBytes }
    const counts = { receivedBytes: plan.missingBytes, reusedBytes: 0, fromPeers: new Map(), refusedPeers: new Map() }
    const artifact = await this.local(manifest)
    if (artifact === undefined) throw new Error('A fetched manifest is not here')
    return { artifact, report: { plan, ...counts, seconds: this.fetchMs / 1000 } }
  }

  local(manifest: Cid): Promise<Artifact | undefined> {
    if (!this.held.has(manifest)) return Promise.resolve(undefined)
    const size = this.#catalog.get(manifest) ?? 0
    return Promise.resolve({ manifest, size, files: [{ name: 'model.bin', size, path: `/store/${manifest}` }] })
  }

  remove(manifest: Cid): Promise<void> {
    this.held.delete(manifest)
    this.removed.push(manifest)
    return Promise.resolve()
  }

  availableBytes(): Promise<number> {
    return Promise.resolve(this.available)
  }

  heldBytes(manifest: Cid): Promise<number> {
    return Promise.resolve(this.held.has(manifest) ? (this.#catalog.get(manifest) ?? 0) : 0)
  }
}

/** How a call of the fake runtime goes. */
export type Behaviour = 'ok' | 'fail' | 'hang' | 'ignore'

/** Serves nothing: remembers what it was asked, in order. */
export class FakeRuntime implements Runtime {
  readonly calls: string[] = []
  /** What a reader would get at this moment. */
  served: string | undefined
  isReady = true
  /** Calls at work at this moment, and the most that ever were. */
  active = 0
  mostActive = 0
  /** How long each call takes, ms. */
  callMs = 10
  /** Versions whose load, and whose check, is not `ok`; `*` for all. */
  readonly loads = new Map<string, Behaviour>()
  readonly checks = new Map<string, Behaviour>()
  unloads: Behaviour = 'ok'
  readyFails = false
  readonly #clock: Clock

  constructor(clock: Clock) {
    this.#clock = clock
  }

  load({ version }: RuntimeArtifact, { signal }: AbortOptions): Promise<void> {
    return this.#call(`load ${version}`, this.loads.get(version) ?? this.loads.get('*'), signal, () => {
      this.served = version
    })
  }

  check({ signal }: AbortOptions): Promise<void> {
    const version = this.served ?? 'nothing'
    return this.#call(`check ${version}`, this.checks.get(version) ?? this.checks.get('*'), signal)
  }

  unload({ signal }: AbortOptions): Promise<void> {
    return this.#call('unload', this.unloads, signal, () => {
      this.served = undefined
    })
  }

  ready(): Promise<boolean> {
    return this.readyFails
      ? Promise.reject(new Error('the database of opening hours is gone'))
      : Promise.resolve(this.isReady)
  }

  async #call(name: string, behaviour: Behaviour = 'ok', signal?: AbortSignal, done?: () => void): Promise<void> {
    this.calls.push(name)
    this.active += 1
    this.mostActive = Math.max(this.mostActive, this.active)
    try {
      // One that hangs ends when it is told to; one that ignores its signal never does.
      if (behaviour === 'hang') await sleep(this.#clock, 1e9, signal)
      if (behaviour === 'ignore') await new Promise(() => {})
      await sleep(this.#clock, this.callMs, signal)
      if (behaviour === 'fail') throw new Error(`${name} does not work`)
      done?.()
    } finally {
      this.active -= 1
    }
  }
}
