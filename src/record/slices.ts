import { createHash } from 'node:crypto'

/** How far a node knows one writer of a page. */
export interface Row {
  readonly client: number
  /** The number of values known, as in a Yjs state vector: the next clock. */
  readonly clock: number
  /** SHA-256 of the last value. */
  readonly valueHash: Uint8Array
}

/** Bytes of a slice's digest on the wire. Each round has its own salt, so what one round misses by chance the next one finds. */
export const sliceDigestBytes = 4
/** A page is cut into at most 2^14 slices: their digests are 64 KiB. */
export const maxSliceBits = 14
/**
 * Writers a slice. With s of them a page of n writers costs 4 n / s bytes of digests, and each difference s rows of 21 bytes.
 * For 1 to 2 differences in 157 writers that is least near 4.
 */
const writersPerSlice = 4

/** Into 2 to the power of how many slices a page with this many writers is cut. */
export function sliceBitsFor(writers: number): number {
  return Math.min(maxSliceBits, Math.max(0, Math.ceil(Math.log2(writers / writersPerSlice))))
}

/** The slice of a client: the low bits of its id, which is a hash. */
export function sliceOf(client: number, bits: number): number {
  return client % 2 ** bits
}

/** The rows of a page by slice; slices without rows are left out. Rows of a slice are in ascending order of the client id. */
export function cutIntoSlices(rows: Iterable<Row>, bits: number): Map<number, Row[]> {
  const slices = new Map<number, Row[]>()
  for (const row of rows) {
    const slice = sliceOf(row.client, bits)
    const group = slices.get(slice)
    if (group === undefined) slices.set(slice, [row])
    else group.push(row)
  }
  for (const group of slices.values()) group.sort((a, b) => a.client - b.client)
  return slices
}

/** The digests of all slices in order, zeros for those without rows. */
export function sliceDigests(slices: ReadonlyMap<number, readonly Row[]>, bits: number, salt: Uint8Array): Uint8Array {
  const digests = new Uint8Array(2 ** bits * sliceDigestBytes)
  for (const [slice, rows] of slices) digests.set(digestOf(rows, salt), slice * sliceDigestBytes)
  return digests
}

/** The slices whose digests differ, in ascending order. */
export function differingSlices(ours: Uint8Array, theirs: Uint8Array): number[] {
  const differing: number[] = []
  for (let at = 0; at < ours.byteLength; at += sliceDigestBytes) {
    const end = at + sliceDigestBytes
    if (Buffer.compare(ours.subarray(at, end), theirs.subarray(at, end)) !== 0) differing.push(at / sliceDigestBytes)
  }
  return differing
}

function digestOf(rows: readonly Row[], salt: Uint8Array): Uint8Array {
  const hash = createHash('sha256').update(salt)
  const numbers = Buffer.allocUnsafe(16)
  for (const { client, clock, valueHash } of rows) {
    numbers.writeBigUInt64BE(BigInt(client), 0)
    numbers.writeBigUInt64BE(BigInt(clock), 8)
    hash.update(numbers).update(valueHash)
  }
  return hash.digest().subarray(0, sliceDigestBytes)
}
