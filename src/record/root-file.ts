import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import { decode, encode } from '../core/codec.js'
import { diskError, syncDirectory } from '../core/durable.js'
import { messageOf, MurmurateError, systemCode } from '../core/errors.js'
import {
  decodeSignedRoot,
  encodeSignedRoot,
  maxRootVersions,
  maxSignedRootBytes,
  verifyChain,
  type FleetId,
  type SignedRoot
} from '../identity/fleet-root.js'

/** Where a node keeps the roots of its fleet. */
export interface RootStorage {
  /**
   * What was saved last, verified; empty when nothing was.
   *
   * @throws MurmurateError `ROOT_UNREADABLE`
   */
  load(): Promise<readonly SignedRoot[]>
  /** Resolves when the roots are on the disk. @throws MurmurateError `INSUFFICIENT_STORAGE` or `DATA_DIR_UNREADABLE` */
  save(roots: readonly SignedRoot[]): Promise<void>
}

const maxFileBytes = maxRootVersions * (maxSignedRootBytes + 8) + 64
const fileSchema = z.array(z.instanceof(Uint8Array)).max(maxRootVersions)

/** The file `record/root`: a DAG-CBOR list of signed roots, written anew and renamed into place with each change. */
export class RootFile implements RootStorage {
  readonly #path: string
  readonly #fleetId: FleetId

  constructor(path: string, fleetId: FleetId) {
    this.#path = path
    this.#fleetId = fleetId
  }

  async load(): Promise<readonly SignedRoot[]> {
    try {
      const { size } = await stat(this.#path)
      if (size > maxFileBytes) throw new MurmurateError('MALFORMED', `it has ${size} bytes`)
      const bytes = await readFile(this.#path)
      const roots = decode(bytes, fileSchema, { maxBytes: maxFileBytes, what: 'The file' }).map(decodeSignedRoot)
      verifyChain(this.#fleetId, roots)
      return roots
    } catch (cause) {
      if (systemCode(cause) === 'ENOENT') return []
      throw new MurmurateError(
        'ROOT_UNREADABLE',
        `${this.#path} does not hold the roots of ${this.#fleetId}: ${messageOf(cause)}`,
        {
          details: { path: this.#path, fleetId: this.#fleetId },
          cause
        }
      )
    }
  }

  async save(roots: readonly SignedRoot[]): Promise<void> {
    const draft = `${this.#path}.draft`
    const bytes = encode(roots.map(encodeSignedRoot))
    try {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 })
      await rm(draft, { force: true })
      const file = await open(draft, 'wx', 0o600)
      try {
        await file.writeFile(bytes)
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(draft, this.#path)
      await syncDirectory(dirname(this.#path))
    } catch (cause) {
      throw await diskError(cause, this.#path, bytes.byteLength)
    }
  }
}
