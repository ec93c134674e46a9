import { chmod, mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemEnvironment } from '../../src/core/environment.js'
import { FsBlobStore } from '../../src/blobs/fs-blob-store.js'
import { describeBlobStore } from './blob-store-contract.js'

const directories: string[] = []

describeBlobStore('FsBlobStore', {
  create: async (options) => {
    const directory = await mkdtemp(join(tmpdir(), 'murmurate-blobs-'))
    directories.push(directory)
    return new FsBlobStore({ directory: join(directory, 'blobs'), environment: systemEnvironment, ...options })
  },
  damage: async (store, file, position) => {
    const path = store.path(file) ?? ''
    await chmod(path, 0o600)
    const handle = await open(path, 'r+')
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, position)
    await handle.write(Uint8Array.of((buffer[0] ?? 0) ^ 1), 0, 1, position)
    await handle.close()
  },
  read: (_, path) => readFile(path),
  dispose: async () => {
    for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true })
  }
})
