/**
 * A runtime for applications that read their model from a directory.
 *
 * ```
 * <directory>/<model>/versions/<version>_<variant>/   one link per file, into the verified store
 * <directory>/<model>/current -> versions/...          switched by one rename
 * ```
 */
import { execFile } from 'node:child_process'
import { mkdir, readdir, readlink, rename, rm, stat, symlink } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { MurmurateError, systemCode } from '../core/errors.js'
import type { ModelId } from '../core/ids.js'
import type { Runtime, RuntimeArtifact, RuntimeFactory } from './runtime.js'

/** A command with its arguments; no shell reads them. */
export type Command = readonly [file: string, ...args: string[]]

/** Settings of the directory runtime. */
export interface DirectoryRuntimeInit {
  /** Where the models appear. */
  readonly directory: string
  /**
   * Run after each switch, with the environment variables `MODEL_ID`, `MODEL_VERSION`, `MODEL_VARIANT` and
   * `MODEL_DIRECTORY`; any exit code but 0 fails the version. Without it, only the files' presence is checked.
   */
  readonly check?: Command | undefined
  /** The check command is killed after this time, ms. @default 60000 */
  readonly checkTimeoutMs?: number | undefined
}

const defaultCheckTimeoutMs = 60_000
/** How much of a failed command's output goes into the blocker. */
const outputBytes = 300

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
    const name = `${artifact.version}_${artifact.variant}`
    const before = await linkTarget(this.#current)
    await this.#stage(artifact, join(this.#root, 'versions', name))
    throwIfAborted(signal)
    await replaceLink(join('versions', name), this.#current)
    this.#artifact = artifact
    await this.#prune(new Set([name, before?.slice('versions/'.length)]))
  }

  async check({ signal }: AbortOptions): Promise<void> {
    const artifact = this.#artifact
    if (artifact === undefined) throw new MurmurateError('RUNTIME_CHECK_FAILED', 'Nothing is loaded')
    for (const file of artifact.files) await requireFile(join(this.#current, file.name), file.sizeBytes)
    if (this.#init.check !== undefined) await this.#runCheck(this.#init.check, artifact, signal)
  }

  async unload(): Promise<void> {
    this.#artifact = undefined
    await rm(this.#current, { force: true })
  }

  /** Builds the version's directory aside, then renames it into place; one that is there already stays untouched. */
  async #stage({ files }: RuntimeArtifact, directory: string): Promise<void> {
    if (await isStaged(files, directory)) return
    const draft = join(dirname(directory), '.draft')
    await rm(draft, { recursive: true, force: true })
    await mkdir(draft, { recursive: true })
    for (const file of files) {
      const link = join(draft, file.name)
      if (relative(draft, link).startsWith('..'))
        throw new MurmurateError('MALFORMED', `File name ${file.name} leaves the directory`)
      await mkdir(dirname(link), { recursive: true })
      await symlink(file.path, link)
    }
    await rm(directory, { recursive: true, force: true })
    await rename(draft, directory)
  }

  async #prune(keep: ReadonlySet<string | undefined>): Promise<void> {
    const versions = join(this.#root, 'versions')
    for (const name of await readdir(versions)) {
      if (!keep.has(name)) await rm(join(versions, name), { recursive: true, force: true })
    }
  }

  #runCheck([file, ...args]: Command, artifact: RuntimeArtifact, signal?: AbortSignal): Promise<void> {
    const timeout = this.#init.checkTimeoutMs ?? defaultCheckTimeoutMs
    const env = {
      ...process.env,
      MODEL_ID: artifact.model,
      MODEL_VERSION: artifact.version,
      MODEL_VARIANT: artifact.variant,
      MODEL_DIRECTORY: this.#current
    }
    return new Promise((resolve, reject) => {
      const options = { env, timeout, killSignal: 'SIGKILL', ...(signal === undefined ? {} : { signal }) } as const
      execFile(file, args, options, (error, stdout, stderr) => {
        if (error === null) return resolve()
        const output = (stderr.trim() || stdout.trim() || error.message).slice(-outputBytes)
        const how =
          error.killed === true ? `did not end within ${timeout} ms` : `failed with ${error.code ?? error.signal}`
        reject(
          new MurmurateError('HOOK_FAILED', `The check command ${how}: ${output}`, {
            details: { command: file },
            cause: error
          })
        )
      })
    })
  }
}

async function isStaged(files: RuntimeArtifact['files'], directory: string): Promise<boolean> {
  for (const file of files) if ((await linkTarget(join(directory, file.name))) !== file.path) return false
  return true
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
