/** Where an item of a heap keeps its place. */
export interface HeapPlace<Item> {
  /** The place that the item was last told; `nowhere` while it was told none. */
  get(item: Item): number
  set(item: Item, place: number): void
}

/** The place of an item that is not in the heap. */
export const nowhere = -1

/**
 * A binary heap, the item with the lowest key first. The items know their places, so that any of them is taken out in
 * O(log n) without a search and without a map beside the heap. The keys are in an array of their own: comparing reads no
 * item, and so no memory that is far away.
 */
export class MinHeap<Item> {
  readonly #items: Item[] = []
  readonly #keys: number[] = []
  readonly #place: HeapPlace<Item>

  constructor(place: HeapPlace<Item>) {
    this.#place = place
  }

  /** The item with the lowest key. */
  get first(): Item | undefined {
    return this.#items[0]
  }

  /** The lowest key; infinite when the heap is empty. */
  get firstKey(): number {
    return this.#keys[0] ?? Infinity
  }

  /** Puts an item in that is not in yet. */
  add(item: Item, key: number): void {
    this.#rise(item, key, this.#items.length)
  }

  /** Takes an item out; one that is not in is left alone. */
  delete(item: Item): void {
    const place = this.#place.get(item)
    if (place === nowhere) return
    this.#place.set(item, nowhere)
    const [last, lastKey] = [this.#items.pop(), this.#keys.pop()]
    if (last === undefined || lastKey === undefined || last === item) return
    // The last item fills the hole; from there it may have to go either way.
    this.#sink(last, lastKey, this.#rise(last, lastKey, place))
  }

  /** Moves an item up from a place to where it belongs; returns that place. */
  #rise(item: Item, key: number, from: number): number {
    let place = from
    while (place > 0) {
      const above = (place - 1) >> 1
      if (this.#keyAt(above) <= key) break
      this.#move(above, place)
      place = above
    }
    this.#put(item, key, place)
    return place
  }

  #sink(item: Item, key: number, from: number): void {
    let place = from
    for (;;) {
      const [left, right] = [2 * place + 1, 2 * place + 2]
      const below = this.#keyAt(right) < this.#keyAt(left) ? right : left
      if (this.#keyAt(below) >= key) break
      this.#move(below, place)
      place = below
    }
    this.#put(item, key, place)
  }

  /** Behind the end no key is lower. */
  #keyAt(place: number): number {
    return place < this.#keys.length ? (this.#keys[place] ?? Infinity) : Infinity
  }

  #move(from: number, to: number): void {
    const item = this.#items[from]
    if (item !== undefined) this.#put(item, this.#keyAt(from), to)
  }

  #put(item: Item, key: number, place: number): void {
    this.#items[place] = item
    this.#keys[place] = key
    this.#place.set(item, place)
  }
}
