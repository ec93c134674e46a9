/** How a heap reads its items, and tells each where it is. */
export interface HeapOrder<Item> {
  /** What the items are ordered by; must not change while the item is in the heap. */
  key(item: Item): number
  /** Where the item was last told that it is. */
  place(item: Item): number
  /** Tells the item where it is, or `nowhere`. */
  setPlace(item: Item, place: number): void
}

/** The place of an item that is not in the heap. */
export const nowhere = -1

/**
 * A binary heap, the item with the lowest key first. The items know their places, so that any of them is taken out in
 * O(log n) without a search and without a map beside the heap.
 */
export class MinHeap<Item> {
  readonly #items: Item[] = []
  readonly #order: HeapOrder<Item>

  constructor(order: HeapOrder<Item>) {
    this.#order = order
  }

  /** The item with the lowest key. */
  get first(): Item | undefined {
    return this.#items[0]
  }

  /** Puts an item in that is not in yet. */
  add(item: Item): void {
    this.#items.push(item)
    this.#rise(item, this.#items.length - 1)
  }

  /** Takes an item out; one that is not in is left alone. */
  delete(item: Item): void {
    const place = this.#order.place(item)
    if (place === nowhere) return
    this.#order.setPlace(item, nowhere)
    const last = this.#items.pop()
    // The last item fills the hole; from there it may have to go either way.
    if (last !== undefined && last !== item) this.#sink(last, this.#rise(last, place))
  }

  /** Moves an item up from a place to where it belongs; returns that place. */
  #rise(item: Item, from: number): number {
    let place = from
    while (place > 0) {
      const parentPlace = (place - 1) >> 1
      const parent = this.#items[parentPlace]
      if (parent === undefined || this.#order.key(parent) <= this.#order.key(item)) break
      this.#put(parent, place)
      place = parentPlace
    }
    this.#put(item, place)
    return place
  }

  #sink(item: Item, from: number): void {
    let place = from
    for (;;) {
      const childPlace = this.#lowerChild(place)
      const child = this.#items[childPlace]
      if (child === undefined || this.#order.key(child) >= this.#order.key(item)) break
      this.#put(child, place)
      place = childPlace
    }
    this.#put(item, place)
  }

  /** The place of the child with the lower key; behind the end when there is none. */
  #lowerChild(place: number): number {
    const [left, right] = [2 * place + 1, 2 * place + 2]
    const [leftItem, rightItem] = [this.#items[left], this.#items[right]]
    if (leftItem === undefined || rightItem === undefined) return left
    return this.#order.key(rightItem) < this.#order.key(leftItem) ? right : left
  }

  #put(item: Item, place: number): void {
    this.#items[place] = item
    this.#order.setPlace(item, place)
  }
}
