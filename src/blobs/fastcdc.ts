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
  /** Smaller chunks find a little more to reuse and cost 36 bytes of list each: 64 KiB is 0.06 % of the file. */
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

/** A byte is shifted out of the hash after this many more. */
const windowBytes = 32

/**
 * Length of the chunk that begins at `start`. `end` is where the known bytes end: either at least `maxBytes` later, or the
 * end of the file.
 */
export function fastCdcCut(bytes: Uint8Array, start: number, end: number): number {
  const { minBytes, averageBytes, maxBytes } = fastCdcParameters
  if (end - start <= minBytes) return end - start
  const limit = Math.min(end, start + maxBytes)
  const average = Math.min(limit, start + averageBytes)
  const strict = scan(bytes, start + minBytes, average, strictMask, 0)
  if (strict > 0) return strict - start
  if (average === limit) return limit - start
  const loose = scan(bytes, average, limit, looseMask, hashBefore(bytes, average))
  return (loose > 0 ? loose : limit) - start
}

/** The hash as it is when all bytes from the minimum size up to this place have gone into it. */
function hashBefore(bytes: Uint8Array, at: number): number {
  let hash = 0
  for (let index = at - windowBytes; index < at; index++) hash = roll(hash, bytes[index])
  return hash
}

/** Where the first cut in a stretch is, or 0. Four bytes a turn: 2.0 instead of 1.2 GB/s. */
function scan(bytes: Uint8Array, from: number, end: number, mask: number, before: number): number {
  let hash = before
  let at = from
  for (const last = end - 3; at < last; at += 4) {
    const first = roll(hash, bytes[at])
    const second = roll(first, bytes[at + 1])
    const third = roll(second, bytes[at + 2])
    hash = roll(third, bytes[at + 3])
    if ((first & mask) === 0) return at + 1
    if ((second & mask) === 0) return at + 2
    if ((third & mask) === 0) return at + 3
    if ((hash & mask) === 0) return at + 4
  }
  for (; at < end; at++) {
    hash = roll(hash, bytes[at])
    if ((hash & mask) === 0) return at + 1
  }
  return 0
}

/** The caller stays inside the bytes, and the table has an entry for each value: both are numbers. */
function roll(hash: number, byte: number | undefined): number {
  return ((hash << 1) + (gear[byte as number] as number)) | 0
}
