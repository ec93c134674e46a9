/**
 * What plain TCP can do, to compare with: a process that streams a file to whoever connects, or one that fetches it,
 * hashes it and writes it. No encryption, no swarm, no verdict; the bytes are hashed where they arrive, as murmurate does.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { answer } from './child.js'
import { usage, type Usage } from './usage.js'

/** Bytes that a stream reads at a time: the size of murmurate's chunks. */
const blockBytes = 256 * 1024

const calls = {
  /** Serves the file to every connection; returns the port on loopback. */
  serve: async (path: string): Promise<number> => {
    const server = createServer((socket) => {
      pipeline(createReadStream(path, { highWaterMark: blockBytes }), socket).catch(() => socket.destroy())
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  },

  /** Fetches the file; returns the hash of what it wrote. */
  fetch: async (port: number, path: string): Promise<string> => {
    const hash = createHash('sha256')
    const hashing = new Transform({
      transform: (chunk: Buffer, _, done) => {
        hash.update(chunk)
        done(null, chunk)
      }
    })
    await pipeline(connect(port, '127.0.0.1'), hashing, createWriteStream(path, { highWaterMark: blockBytes }))
    return hash.digest('hex')
  },

  /** What the process has used. */
  usage: (): Promise<Usage> => Promise.resolve(usage())
}

/** What the bench can ask of such a process. */
export type TcpCalls = typeof calls

answer(calls)
