/** Lets tasks with the same key run one after the other. */
export class KeyedLock<Key> {
  readonly #tails = new Map<Key, Promise<unknown>>()

  /** Runs the task when all earlier ones of this key have settled. */
  run<T>(key: Key, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve()
    const result = before.then(task)
    const tail = result
      .catch(() => {})
      .then(() => {
        if (this.#tails.get(key) === tail) this.#tails.delete(key)
      })
    this.#tails.set(key, tail)
    return result
  }
}
