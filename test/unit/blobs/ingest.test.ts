import {
  appendFileSync,
  closeSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync
} from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { seededBytes } from '../../support/safetensors.js'
import { Swarm, type SwarmNode } from './swarm.js'

let swarm: Swarm
let node: SwarmNode

beforeEach(async () => {
  swarm = await Swarm.create()
  node = await swarm.add()
})

afterEach(() => swarm.dispose())

test('what is published has a path with the same bytes, and the original stays as it is', async () => {
  const bytes = seededBytes('file', 9_000_000)
  const path = await swarm.file('file', bytes)
  const progress: number[] = []
  const result = await node.blobs.ingest([{ name: 'a/file', path }], {
    onProgress: ({ hashedBytes, totalBytes }) => progress.push(hashedBytes / totalBytes)
  })
  expect(result).toMatchObject({ size: bytes.length, files: [{ name: 'a/file', size: bytes.length }] })
  const local = await node.blobs.local(result.manifest)
  expect(Buffer.compare(await readFile(local?.files[0]?.path ?? ''), bytes)).toBe(0)
  expect(Buffer.compare(await readFile(path), bytes)).toBe(0)
  expect(progress.at(-1)).toBe(1)
})

test('[BLOB-2] the same files give the same manifest, on every node and at every time', async () => {
  const path = await swarm.file('file', seededBytes('file', 500_000))
  const one = await node.blobs.ingest([{ name: 'x', path }])
  const two = await (await swarm.add()).blobs.ingest([{ name: 'x', path }])
  expect(await node.blobs.ingest([{ name: 'x', path }])).toEqual(one)
  expect(two.manifest).toBe(one.manifest)
})

test('a file under two names is stored once', async () => {
  const path = await swarm.file('file', seededBytes('file', 500_000))
  await node.blobs.ingest([
    { name: 'x', path },
    { name: 'y', path }
  ])
  expect(node.store.files().length).toBe(1)
  expect((await node.store.space()).usedBytes).toBeLessThan(510_000)
})

describe('a file that changes while it is read is refused, and nothing is kept', () => {
  const changes: Record<string, (path: string) => void> = {
    'written to': (path) => {
      const file = openSync(path, 'r+')
      writeSync(file, '!', 10)
      closeSync(file)
    },
    'written to, with its old time': (path) => {
      const { atime, mtime } = statSync(path)
      writeFileSync(path, seededBytes('other', 10_000_000))
      utimesSync(path, atime, mtime)
    },
    grown: (path) => appendFileSync(path, 'more'),
    shrunk: (path) => truncateSync(path, 5_000_000),
    removed: (path) => rmSync(path),
    replaced: (path) => {
      writeFileSync(`${path}.new`, seededBytes('file', 10_000_000))
      renameSync(`${path}.new`, path)
    }
  }
  for (const [how, change] of Object.entries(changes)) {
    test(how, async () => {
      const first = await swarm.file('first', seededBytes('first', 100_000))
      const path = await swarm.file('file', seededBytes('file', 10_000_000))
      let isChanged = false
      const onProgress = ({ hashedBytes }: { readonly hashedBytes: number }): void => {
        if (isChanged || hashedBytes < 1_000_000) return
        isChanged = true
        change(path)
      }
      const files = [
        { name: 'first', path: first },
        { name: 'x', path }
      ]
      const ingesting = node.blobs.ingest(files, { onProgress })
      await expect(ingesting).rejects.toMatchObject({ code: 'FILE_CHANGED', details: { path } })
      expect(node.store.files()).toEqual([])
      expect(node.store.kept()).toEqual([])
      const left = await readdir(join(swarm.directory, node.nodeId, 'parts'))
      expect(left).toEqual([])
    })
  }
})

test('a signal stops it, and nothing is kept', async () => {
  const path = await swarm.file('file', seededBytes('file', 10_000_000))
  const controller = new AbortController()
  const options = { signal: controller.signal, onProgress: () => controller.abort() }
  await expect(node.blobs.ingest([{ name: 'x', path }], options)).rejects.toMatchObject({ code: 'ABORTED' })
  expect(node.store.files()).toEqual([])
  expect((await node.store.space()).usedBytes).toBeLessThan(1000)
})

test('a disk that is too small is told before anything is read', async () => {
  const small = await swarm.add({ capacityBytes: 1_000_000 })
  const path = await swarm.file('file', seededBytes('file', 2_000_000))
  await expect(small.blobs.ingest([{ name: 'x', path }])).rejects.toMatchObject({
    code: 'INSUFFICIENT_STORAGE',
    details: { requiredBytes: 2_000_000, availableBytes: 1_000_000 }
  })
})

test('bad names and paths are refused', async () => {
  const path = await swarm.file('file', seededBytes('file', 100))
  for (const name of ['/etc/passwd', '../up', 'a\\b', 'a\0', '', 'a//b']) {
    await expect(node.blobs.ingest([{ name, path }])).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
  }
  const twice = [
    { name: 'A', path },
    { name: 'a', path }
  ]
  await expect(node.blobs.ingest(twice)).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
  await expect(node.blobs.ingest([{ name: 'x', path: `${path}.absent` }])).rejects.toMatchObject({
    code: 'INVALID_REQUEST'
  })
  await expect(node.blobs.ingest([{ name: 'x', path: swarm.directory }])).rejects.toMatchObject({
    code: 'INVALID_REQUEST'
  })
})
