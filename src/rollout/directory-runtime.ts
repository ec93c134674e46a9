/**
 * A runtime for applications that read their model from a directory.
 *
 * ```
 * <directory>/<model>/versions/<version>_<variant>/   one link per file, into the verified store
 * <directory>/<model>/current -> versions/...          switched by one rename
 * ```
 */
import { mkdir, readdir, readlink, rename, rm, stat, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { MurmurateError, systemCode } from '../core/errors.js'
import type { ModelId } from '../core/ids.js'
import { nameProblem } from '../blobs/file-name.js'
import { runCommand, type Command } from './command.js'
import type { Runtime, RuntimeArtifact, RuntimeFactory } from './runtime.js'

export type { Command } from './command.js'

/** Settings of the directory runtime. */
export interface DirectoryRuntimeInit {
  /** Where the models appear. */
  readonly directory: string
  /**
   * Run after each switch, with the environment variables `MODEL_ID`, `MODEL_VERSION`, `MODEL_VARIANT` and
   * `MODEL_DIRECTORY`; any exit code but 0 fails the version. Without it, only the files' presence is checked.
   */
  readonly check?: Command | undefined
  /** The check command is killed after this time, ms, or after the node's `checkTimeoutMs`, whichever is shorter. @default 60000 */
  readonly checkTimeoutMs?: number | undefined
}

const defaultCheckTimeoutMs = 60_000
/** Makes directory runtimes for all models of a node. */
export function directoryRuntime(init: DirectoryRuntimeInit): RuntimeFactory {
  return (model) => new DirectoryRuntime(model, init)
}

class DirectoryRuntime implements Runtime {
  readonly #root: string
  readonly #init: DirectoryRuntimeInit
  #artifact: RuntimeArtifact | undefined

  constructor(model: ModelId, init: DirectoryRuntimeInit) {
    this.#root = join(init.directory, model)
    this.#init = init
  }

  get #current(): string {
    return join(this.#root, 'current')
  }

  async load(artifact: RuntimeArtifact, { signal }: AbortOptions): Promise<void> {
    for (const { name } of artifact.files) checkName(name)
    const before = await linkTarget(this.#current)
    const next = await this.#stage(artifact, before)
    throwIfAborted(signal)
    this.#artifact = artifact
    if (next === before) return
    await replaceLink(next, this.#current)
    await this.#prune(new Set([next, before]))
  }

  async check({ signal }: AbortOptions): Promise<void> {
    const artifact = this.#artifact
    if (artifact === undefined) throw new MurmurateError('RUNTIME_CHECK_FAILED', 'Nothing is loaded')
    for (const file of artifact.files) await requireFile(join(this.#current, file.name), file.sizeBytes)
    if (this.#init.check === undefined) return
    const timeoutMs = this.#init.checkTimeoutMs ?? defaultCheckTimeoutMs
    await runCommand(this.#init.check, { env: this.#environmentOf(artifact), timeoutMs, signal })
  }

  async unload(): Promise<void> {
    this.#artifact = undefined
    await rm(this.#current, { force: true })
  }

  /** Builds the version's directory aside and renames it into place, unless it is there; returns its place. */
  async #stage({ version, variant, files }: RuntimeArtifact, current: string | undefined): Promise<string> {
    const place = `versions/${version}_${variant}`
    // The directory in service is never touched: where it has other files than it should, the new one goes beside it.
    const places = current === place ? [place, `${place}~`] : [`${place}~`, place]
    for (const known of places) if (await isStaged(files, join(this.#root, known))) return known
    const free = current === place ? `${place}~` : place
    const draft = join(this.#root, 'versions/.draft')
    await rm(draft, { recursive: true, force: true })
    await mkdir(draft, { recursive: true })
    for (const { name, path } of files) await linkFile(path, draft, name)
    await rm(join(this.#root, free), { recursive: true, force: true })
    await rename(draft, join(this.#root, free))
    return free
  }

  async #prune(keep: ReadonlySet<string | undefined>): Promise<void> {
    for (const name of await readdir(join(this.#root, 'versions'))) {
      const place = `versions/${name}`
      if (!keep.has(place)) await rm(join(this.#root, place), { recursive: true, force: true })
    }
  }

  #environmentOf({ model, version, variant }: RuntimeArtifact): Readonly<Record<string, string>> {
    return { MODEL_ID: model, MODEL_VERSION: version, MODEL_VARIANT: variant, MODEL_DIRECTORY: this.#current }
  }
}

/** @throws MurmurateError `MALFORMED` for a name that is no path below the directory */
function checkName(name: string): void {
  const problem = nameProblem(name)
  if (problem === undefined) return
  throw new MurmurateError('MALFORMED', `The file name ${JSON.stringify(name)} cannot be used: ${problem}`)
}

/** Makes a file appear in a directory under its name in the release. */
async function linkFile(path: string, directory: string, name: string): Promise<void> {
  await mkdir(dirname(join(directory, name)), { recursive: true })
  await symlink(path, join(directory, name))
}

/** Whether a directory holds exactly these links. */
async function isStaged(files: RuntimeArtifact['files'], directory: string): Promise<boolean> {
  for (const file of files) if ((await linkTarget(join(directory, file.name))) !== file.path) return false
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => !entry.isDirectory()).length === files.length
}

async function requireFile(path: string, sizeBytes: number): Promise<void> {
  const { size } = await stat(path).catch((cause: unknown) => {
    throw new MurmurateError('RUNTIME_CHECK_FAILED', `${path} is missing`, { cause })
  })
  if (size !== sizeBytes) {
    throw new MurmurateError('RUNTIME_CHECK_FAILED', `${path} has ${size} bytes instead of ${sizeBytes}`)
  }
}

async function linkTarget(path: string): Promise<string | undefined> {
  try {
    return await readlink(path)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EINVAL'].includes(systemCode(error) ?? '')) return undefined
    throw error
  }
}

/** Makes a link point elsewhere in one step. */
async function replaceLink(target: string, path: string): Promise<void> {
  const draft = `${path}.draft`
  await rm(draft, { force: true })
  await symlink(target, draft)
  await rename(draft, path)
}
