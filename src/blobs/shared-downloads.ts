import { MurmurateError } from '../core/errors.js'
import type { Cid } from '../core/ids.js'
import type { FileDownload } from './file-download.js'

interface Shared {
  readonly download: FileDownload
  readonly controller: AbortController
  users: number
  running: Promise<void> | undefined
}

/**
 * The files that are being fetched. Two fetches that want the same file share one download; it is stopped when the last of
 * them has let go.
 */
export class SharedDownloads {
  readonly #shared = new Map<Cid, Shared>()

  /** All downloads, begun or waiting. */
  all(): readonly FileDownload[] {
    return [...this.#shared.values()].map(({ download }) => download)
  }

  /** The download of a file; undefined when nobody wants it. */
  get(file: Cid): FileDownload | undefined {
    return this.#shared.get(file)?.download
  }

  /** Waits for downloads of these files that are being stopped. */
  async stopping(files: readonly Cid[]): Promise<void> {
    for (const file of files) {
      const shared = this.#shared.get(file)
      if (shared?.controller.signal.aborted === true) await shared.running?.catch(() => {})
    }
  }

  /** Whether one of these files has a download that is being stopped: nobody may take part in that any more. */
  isStopping(files: readonly Cid[]): boolean {
    return files.some((file) => this.#shared.get(file)?.controller.signal.aborted === true)
  }

  /** Takes part in the download of a file; `create` makes it when there is none. Must be released once. */
  acquire(file: Cid, create: () => FileDownload): FileDownload {
    const shared = this.#shared.get(file) ?? {
      download: create(),
      controller: new AbortController(),
      users: 0,
      running: undefined
    }
    shared.users++
    this.#shared.set(file, shared)
    return shared.download
  }

  /** Begins a download that was acquired, if it has not begun, and settles with it. */
  run(file: Cid): Promise<void> {
    const shared = this.#shared.get(file)
    if (shared === undefined) return Promise.resolve()
    shared.running ??= shared.download.run(shared.controller.signal)
    return shared.running
  }

  /** Lets go. The last one stops the download and waits until nothing of it is open. */
  async release(file: Cid): Promise<void> {
    const shared = this.#shared.get(file)
    if (shared === undefined || --shared.users > 0) return
    shared.controller.abort(new MurmurateError('ABORTED', 'Nobody wants the file any more'))
    await shared.running?.catch(() => {})
    if (this.#shared.get(file) === shared) this.#shared.delete(file)
  }
}
