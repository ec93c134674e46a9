import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Startable } from '../core/lifecycle.js'

const schema = z.array(z.string().max(300)).max(64)
const pathIn = (dataDir: string): string => join(dataDir, 'addresses')

/**
 * Where the node that runs on a data directory listens, for other programs on this machine: the file `addresses`, a JSON list
 * of multiaddrs, while the node runs. After a crash it is stale, which costs who reads it a dial in vain.
 */
export class AddressFile implements Startable {
  readonly #dataDir: string
  readonly #addresses: () => readonly string[]

  constructor(dataDir: string, addresses: () => readonly string[]) {
    this.#dataDir = dataDir
    this.#addresses = addresses
  }

  async start(): Promise<void> {
    await writeFile(pathIn(this.#dataDir), JSON.stringify(this.#addresses()), { mode: 0o600 })
  }

  async stop(): Promise<void> {
    await rm(pathIn(this.#dataDir), { force: true })
  }
}

/** The addresses of the node that runs on a data directory; none when none runs. */
export async function readAddresses(dataDir: string): Promise<readonly string[]> {
  try {
    return schema.parse(JSON.parse(await readFile(pathIn(dataDir), 'utf8')))
  } catch {
    return []
  }
}
