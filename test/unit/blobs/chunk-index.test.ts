import { expect, test } from 'vitest'
import { ChunkIndex } from '../../../src/blobs/chunk-index.js'
import { ChunkListBuilder, type ChunkList } from '../../../src/blobs/chunk-list.js'
import { cidOf, digestOf } from '../../../src/blobs/cid.js'

const fileOf = (name: string): ReturnType<typeof cidOf> => cidOf(Buffer.from(name))

function listOf(name: string, count: number): ChunkList {
  const list = new ChunkListBuilder()
  for (let chunk = 0; chunk < count; chunk++) list.add(digestOf(Buffer.from(`${name} ${chunk}`)), 1000)
  return list.build()
}

test('every chunk of every file is found, as the table grows', () => {
  const index = new ChunkIndex()
  const lists = ['a', 'b', 'c'].map((name) => [fileOf(name), listOf(name, 20_000)] as const)
  for (const [file, list] of lists) index.add(file, list)
  for (const [file, list] of lists) {
    for (let chunk = 0; chunk < list.count; chunk++) {
      expect(index.candidates(list.digests, chunk)).toContainEqual({ file, chunk })
    }
  }
  expect(index.candidates(listOf('d', 1).digests, 0)).toEqual([])
})

test('a removed file is not found any more, the others are', () => {
  const index = new ChunkIndex()
  const [a, b] = [listOf('a', 1000), listOf('b', 1000)]
  index.add(fileOf('a'), a)
  index.add(fileOf('b'), b)
  index.remove(fileOf('a'))
  index.remove(fileOf('a'))
  expect(index.candidates(a.digests, 7)).toEqual([])
  expect(index.candidates(b.digests, 7)).toEqual([{ file: fileOf('b'), chunk: 7 }])
})

test('a file of a million equal chunks takes one slot', () => {
  const list = new ChunkListBuilder()
  const zeros = digestOf(new Uint8Array(1000))
  for (let chunk = 0; chunk < 1_000_000; chunk++) list.add(zeros, 1000)
  const index = new ChunkIndex()
  index.add(fileOf('zeros'), list.build())
  expect(index.tableBytes).toBeLessThan(20_000)
  expect(index.candidates(zeros, 0)).toEqual([{ file: fileOf('zeros'), chunk: 0 }])
})

test('memory is bounded: beyond the limit chunks are not indexed', () => {
  const index = new ChunkIndex(1000)
  index.add(fileOf('a'), listOf('a', 5000))
  expect(index.tableBytes).toBeLessThanOrEqual(2048 * 12)
  index.add(fileOf('b'), listOf('b', 5000))
  expect(index.candidates(listOf('b', 1).digests, 0)).toEqual([])
})

test('many versions that share a chunk do not make long chains', () => {
  const index = new ChunkIndex()
  const list = listOf('same', 10)
  for (let version = 0; version < 100; version++) index.add(fileOf(`v${version}`), list)
  expect(index.candidates(list.digests, 0).length).toBe(4)
})
