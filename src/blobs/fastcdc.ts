/**
 * FastCDC with normalised chunking and minimum-size skip (Xia et al., "FastCDC: a Fast and Efficient Content-Defined
 * Chunking Approach for Data Deduplication", USENIX ATC 2016, section 3). A cut depends only on the 32 bytes before it,
 * so an insertion moves the cuts near it and no others.
 *
 * Everything here is part of the format: other numbers cut elsewhere, and nothing would be reused across versions.
 */
import { digestOf } from './cid.js'

const kibibyte = 1024

/** Constants of the cut, in bytes. `normalization` is how many bits the masks differ from the average's 16. */
export const fastCdcParameters = Object.freeze({
  /** No cut is looked for before this: a quarter of the average, as in the paper. */
  minBytes: 16 * kibibyte,
  /** Best of 16, 32, 64, 128 KiB over our sample of model repositories. */
  averageBytes: 64 * kibibyte,
  /** The largest chunk of any kind, see `maxChunkBytes`. */
  maxBytes: 256 * kibibyte,
  normalization: 2
})

/** Ones at the top of the hash, where each bit has been moved by at least 14 bytes of input. */
function topBits(count: number): number {
  return count === 0 ? 0 : -1 << (32 - count)
}

const averageBits = Math.log2(fastCdcParameters.averageBytes)
/** Harder to match, used before the average size. */
const strictMask = topBits(averageBits + fastCdcParameters.normalization)
/** Easier to match, used after it. */
const looseMask = topBits(averageBits - fastCdcParameters.normalization)

/** For each byte value: the first four bytes, big-endian, of the sha2-256 of that one byte. */
const gear = Int32Array.from({ length: 256 }, (_, byte) => Buffer.from(digestOf(Uint8Array.of(byte))).readInt32BE(0))

/**
 * Length of the chunk that begins at `start`. `end` is where the known bytes end: either at least `maxBytes` later, or the
 * end of the file.
 */
export function fastCdcCut(bytes: Uint8Array, start: number, end: number): number {
  const { minBytes, averageBytes, maxBytes } = fastCdcParameters
  if (end - start <= minBytes) return end - start
  const limit = Math.min(end, start + maxBytes)
  const average = Math.min(limit, start + averageBytes)
  let hash = 0
  let at = start + minBytes
  for (; at < average; at++) {
    hash = ((hash << 1) + (gear[bytes[at] as number] as number)) | 0
    if ((hash & strictMask) === 0) return at + 1 - start
  }
  for (; at < limit; at++) {
    hash = ((hash << 1) + (gear[bytes[at] as number] as number)) | 0
    if ((hash & looseMask) === 0) return at + 1 - start
  }
  return limit - start
}
