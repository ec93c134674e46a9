/**
 * Which chunks of a part are surely on disk. Written after the data was synced, whole, by rename; so it may know less than
 * is true, never more. Form: `mmheld1\n`, number of chunks (u32, big-endian), bits, sha2-256 of all before it.
 */
import { readFile } from 'node:fs/promises'
import { equalBytes } from '../core/codec.js'
import { systemCode } from '../core/errors.js'
import { Bitfield } from './bitfield.js'
import { digestBytes, digestOf } from './cid.js'
import { replaceFile } from './fs-files.js'

const magic = Buffer.from('mmheld1\n')
const headBytes = magic.byteLength + 4

/** Writes the journal. */
export async function writeHeld(path: string, held: Bitfield): Promise<void> {
  const count = Buffer.alloc(4)
  count.writeUInt32BE(held.length)
  const body = Buffer.concat([magic, count, held.bytes])
  await replaceFile(path, Buffer.concat([body, digestOf(body)]))
}

/** Reads the journal; undefined when there is none or it is damaged. */
export async function readHeld(path: string): Promise<Bitfield | undefined> {
  let bytes: Buffer
  try {
    bytes = await readFile(path)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
  const bodyBytes = bytes.byteLength - digestBytes
  if (bodyBytes < headBytes || !equalBytes(digestOf(bytes.subarray(0, bodyBytes)), bytes.subarray(bodyBytes)))
    return undefined
  if (!equalBytes(bytes.subarray(0, magic.byteLength), magic)) return undefined
  return Bitfield.from(bytes.subarray(headBytes, bodyBytes), bytes.readUInt32BE(magic.byteLength))
}
