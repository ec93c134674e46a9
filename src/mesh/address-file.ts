import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { messageOf } from '../core/errors.js'
import type { Startable } from '../core/lifecycle.js'
import type { Logger } from '../core/logger.js'

const schema = z.array(z.string().max(300)).max(64)
const pathIn = (dataDir: string): string => join(dataDir, 'addresses')

/**
 * Where the node that runs on a data directory listens, for other programs on this machine: the file `addresses`, a JSON list
 * of multiaddrs, while the node runs. After a crash it is stale, which costs who reads it a dial in vain; and a disk that does
 * not take it stops no node.
 */
export class AddressFile implements Startable {
  readonly #dataDir: string
  readonly #addresses: () => readonly string[]
  readonly #logger: Logger

  constructor(dataDir: string, addresses: () => readonly string[], logger: Logger) {
    this.#dataDir = dataDir
    this.#addresses = addresses
    this.#logger = logger
  }

  async start(): Promise<void> {
    await this.#quietly(writeFile(pathIn(this.#dataDir), JSON.stringify(this.#addresses()), { mode: 0o600 }))
  }

  async stop(): Promise<void> {
    await this.#quietly(rm(pathIn(this.#dataDir), { force: true }))
  }

  async #quietly(change: Promise<void>): Promise<void> {
    await change.catch((error: unknown) =>
      this.#logger.warn(`programs on this machine do not hear where this node listens: ${messageOf(error)}`)
    )
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
