import { expect, test } from 'vitest'
import { bucketCount, bucketOf, bucketPage, isOwnBucket } from '../../../src/record/bucket.js'
import { parsePageId, type NodeId } from '../../../src/core/ids.js'
import { nodeIdOf } from '../../../src/identity/node-id.js'

const nodes = Array.from({ length: 6400 }, (_, number): NodeId => {
  const key = Buffer.alloc(32)
  key.writeUInt32BE(number)
  return nodeIdOf(key)
})

test('nodes are spread evenly over all buckets', () => {
  const sizes = Array.from({ length: bucketCount }, () => 0)
  for (const node of nodes) {
    const bucket = bucketOf(node)
    sizes[bucket] = (sizes[bucket] ?? 0) + 1
  }
  expect(Math.min(...sizes)).toBeGreaterThan(50)
  expect(Math.max(...sizes)).toBeLessThan(150)
  expect(sizes).toHaveLength(bucketCount)
})

test('a node has one page of a prefix, and no other is its own', () => {
  const [node] = nodes
  if (node === undefined) return expect.unreachable()
  const own = bucketPage('status/a', node)
  expect(own).toBe(`status/a/${bucketOf(node)}`)
  const pages = Array.from({ length: bucketCount }, (_, bucket) => parsePageId(`status/a/${bucket}`))
  expect(pages.filter((page) => isOwnBucket(page, 'status/a', node))).toEqual([own])
  expect(isOwnBucket(parsePageId(`status/a/0${bucketOf(node)}`), 'status/a', node)).toBe(false)
})
