import { open, type FileHandle } from 'node:fs/promises'

/** Files kept open for reading: opening one for each chunk would cost three trips to the thread pool instead of one. */
const keptOpen = 16

interface Opened {
  readonly handle: Promise<FileHandle>
  users: number
  isForgotten: boolean
}

/** A few files kept open for reading, least recently used first to go. */
export class ReadHandles {
  readonly #opened = new Map<string, Opened>()

  /** Reads with a handle that nobody closes meanwhile. */
  async use<T>(path: string, task: (handle: FileHandle) => Promise<T>): Promise<T> {
    const opened = this.#take(path)
    try {
      return await task(await opened.handle)
    } catch (error) {
      this.forget(path)
      throw error
    } finally {
      opened.users--
      await this.#closeIfDone(opened)
    }
  }

  /** Closes the file as soon as nobody reads it; before it is renamed or removed. */
  forget(path: string): void {
    const opened = this.#opened.get(path)
    if (opened === undefined) return
    this.#opened.delete(path)
    opened.isForgotten = true
    void this.#closeIfDone(opened)
  }

  /** Closes all files. */
  async close(): Promise<void> {
    const all = [...this.#opened.values()]
    this.#opened.clear()
    for (const opened of all) {
      opened.isForgotten = true
      await this.#closeIfDone(opened)
    }
  }

  #take(path: string): Opened {
    const opened = this.#opened.get(path) ?? { handle: open(path, 'r'), users: 0, isForgotten: false }
    opened.users++
    this.#opened.delete(path)
    this.#opened.set(path, opened)
    const [oldest] = this.#opened.size > keptOpen ? this.#opened.keys() : []
    if (oldest !== undefined) this.forget(oldest)
    return opened
  }

  async #closeIfDone(opened: Opened): Promise<void> {
    if (!opened.isForgotten || opened.users > 0) return
    const handle = await opened.handle.catch(() => undefined)
    await handle?.close()
  }
}
