import type { Random } from '../core/environment.js'

/** Up to `count` of the items, at random, each once; shuffles the items for it. */
export function sample<Item>(random: Random, items: Item[], count: number): Item[] {
  if (count >= items.length) return items
  for (let at = 0; at < count; at++) {
    const other = at + Math.floor(random.float() * (items.length - at))
    const [a, b] = [items[at], items[other]]
    if (a !== undefined && b !== undefined) [items[at], items[other]] = [b, a]
  }
  return items.slice(0, count)
}
