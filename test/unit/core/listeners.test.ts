import { expect, test } from 'vitest'
import { Listeners } from '../../../src/core/listeners.js'
import { RecentMap } from '../../../src/core/recent-map.js'
import { listeningLogger } from '../record/fixtures.js'

test('[FLEET-40] a listener that throws is logged, and neither the others nor whoever tells them notice', () => {
  const logger = listeningLogger()
  const listeners = new Listeners<[text: string]>('news', logger)
  const heard: string[] = []
  listeners.add((text) => heard.push(`first ${text}`))
  listeners.add(() => {
    throw new Error('my own mistake')
  })
  const remove = listeners.add((text) => heard.push(`last ${text}`))
  listeners.tell('a')
  remove()
  remove()
  listeners.tell('b')
  expect(heard).toEqual(['first a', 'last a', 'first b'])
  expect(logger.lines).toEqual(Array(2).fill('a listener of news failed: my own mistake'))
})

test('[FLEET-40] one listener added twice is told twice, and each is removed by itself', () => {
  const listeners = new Listeners<[]>('news', listeningLogger())
  let count = 0
  const listener = (): void => void (count += 1)
  const [one, two] = [listeners.add(listener), listeners.add(listener)]
  listeners.tell()
  one()
  listeners.tell()
  expect([count, listeners.size]).toEqual([3, 1])
  two()
  expect(listeners.size).toBe(0)
})

test('a map of recent keys forgets the one that was set longest ago', () => {
  const map = new RecentMap<string, number>(2)
  map.set('a', 1)
  map.set('b', 2)
  map.set('a', 3)
  map.set('c', 4)
  expect([...map]).toEqual([
    ['a', 3],
    ['c', 4]
  ])
  map.set('c', 5)
  expect([map.size, map.has('b'), map.get('a')]).toEqual([2, false, 3])
  expect(map.delete('a')).toBe(true)
  map.clear()
  expect(map.size).toBe(0)
})
