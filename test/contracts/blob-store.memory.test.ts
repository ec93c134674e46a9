import { MemoryBlobStore } from '../../src/blobs/memory-blob-store.js'
import type { BlobStore } from '../../src/blobs/blob-store.js'
import { describeBlobStore } from './blob-store-contract.js'

const bytesAt = (store: BlobStore, path: string): Uint8Array => {
  const bytes = store instanceof MemoryBlobStore ? store.read(path) : undefined
  if (bytes === undefined) throw new Error(`nothing at ${path}`)
  return bytes
}

describeBlobStore('MemoryBlobStore', {
  create: async (options) => new MemoryBlobStore(options),
  damage: async (store, file, position) => {
    const bytes = bytesAt(store, store.path(file) ?? '')
    bytes[position] = (bytes[position] ?? 0) ^ 1
  },
  read: async (store, path) => bytesAt(store, path),
  dispose: async () => {}
})
