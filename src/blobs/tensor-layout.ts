/**
 * Where to cut a safetensors file (https://github.com/huggingface/safetensors#format): at the boundaries of tensors, so
 * that a changed tensor costs that tensor, a changed header costs the header, and moved tensors cost nothing.
 *
 * The cuts follow from the layout alone, never from what the weights are. Rules:
 * 1. The header (its length field included) is cut every 256 KiB from the start of the file.
 * 2. A tensor of at least 4 KiB is cut every 256 KiB from its own start.
 * 3. Neighbouring tensors of less than 4 KiB are put together up to 64 KiB, so that a file of many scalars does not become
 *    a chunk each. A group ends at the next tensor that is not small: a change of layout elsewhere cannot move its cuts, and
 *    an insertion among small tensors costs at most that run of small tensors.
 */
const kibibyte = 1024

/** Constants of the cut, in bytes; part of the format. */
export const tensorCutParameters = Object.freeze({
  chunkBytes: 256 * kibibyte,
  smallTensorBytes: 4 * kibibyte,
  groupBytes: 64 * kibibyte
})

/** Longest header that is looked at. The header of a model of 700 billion parameters in one file is under 10 MB. */
const maxTensorHeaderBytes = 16 * kibibyte * kibibyte

/** The length field before the header. */
export const tensorHeaderStart = 8

/** A file of tiny pieces would have a huge chunk list; beyond this average (plus 1024 chunks) it is cut by content instead. */
const minAverageChunkBytes = 16 * kibibyte

/** Bits of a value of each type; types that are not listed are not checked. */
const bitsOfType: ReadonlyMap<string, number> = new Map([
  ...['BOOL', 'U8', 'I8', 'F8_E4M3', 'F8_E5M2', 'F8_E8M0'].map((type) => [type, 8] as const),
  ...['U16', 'I16', 'F16', 'BF16'].map((type) => [type, 16] as const),
  ...['U32', 'I32', 'F32'].map((type) => [type, 32] as const),
  ...['U64', 'I64', 'F64', 'C64'].map((type) => [type, 64] as const)
])

interface Span {
  readonly begin: number
  readonly end: number
}

/**
 * Length of the header from the first eight bytes of a file; undefined when it cannot be a safetensors file of this size.
 */
export function tensorHeaderBytes(start: Uint8Array, fileBytes: number): number | undefined {
  if (start.byteLength < tensorHeaderStart) return undefined
  const length = new DataView(start.buffer, start.byteOffset, start.byteLength).getBigUint64(0, true)
  const limit = Math.min(maxTensorHeaderBytes, fileBytes - tensorHeaderStart)
  return length >= 2n && length <= BigInt(Math.max(limit, 0)) ? Number(length) : undefined
}

/**
 * Lengths of all chunks of a safetensors file, in order; undefined when the header is not sound (the tensors must cover the
 * rest of the file without gap or overlap), or when the cuts would be too many. Never throws.
 *
 * @param header - the JSON text, without the length field
 */
export function tensorCuts(header: Uint8Array, fileBytes: number): Float64Array | undefined {
  const dataStart = tensorHeaderStart + header.byteLength
  const spans = readSpans(header, fileBytes - dataStart)
  if (spans === undefined) return undefined
  const cuts: number[] = []
  addEvery(cuts, dataStart)
  addTensors(cuts, spans)
  return cuts.length <= fileBytes / minAverageChunkBytes + 1024 ? Float64Array.from(cuts) : undefined
}

function addTensors(cuts: number[], spans: readonly Span[]): void {
  let group = 0
  const endGroup = (): void => {
    if (group > 0) cuts.push(group)
    group = 0
  }
  for (const { begin, end } of spans) {
    const length = end - begin
    const isSmall = length < tensorCutParameters.smallTensorBytes
    if (!isSmall || group + length > tensorCutParameters.groupBytes) endGroup()
    if (isSmall) group += length
    else addEvery(cuts, length)
  }
  endGroup()
}

function addEvery(cuts: number[], length: number): void {
  for (let left = length; left > 0; left -= tensorCutParameters.chunkBytes) {
    cuts.push(Math.min(left, tensorCutParameters.chunkBytes))
  }
}

function readSpans(header: Uint8Array, dataBytes: number): readonly Span[] | undefined {
  const entries = parseObject(header)
  if (entries === undefined) return undefined
  const spans: Span[] = []
  for (const [name, entry] of Object.entries(entries)) {
    if (name === '__metadata__') continue
    const span = readSpan(entry)
    if (span === undefined) return undefined
    spans.push(span)
  }
  spans.sort((a, b) => a.begin - b.begin || a.end - b.end)
  return covers(spans, dataBytes) ? spans : undefined
}

function covers(spans: readonly Span[], dataBytes: number): boolean {
  let at = 0
  for (const { begin, end } of spans) {
    if (begin !== at || end < begin) return false
    at = end
  }
  return at === dataBytes
}

function readSpan(entry: unknown): Span | undefined {
  if (!isPlainObject(entry) || typeof entry.dtype !== 'string') return undefined
  const shape = sizes(entry.shape)
  const [begin, end, ...rest] = sizes(entry.data_offsets) ?? []
  if (shape === undefined || begin === undefined || end === undefined || rest.length > 0) return undefined
  const bits = bitsOfType.get(entry.dtype)
  const values = shape.reduce((product, size) => product * size, 1)
  return bits === undefined || values * bits === (end - begin) * 8 ? { begin, end } : undefined
}

function sizes(value: unknown): readonly number[] | undefined {
  if (!Array.isArray(value)) return undefined
  const list: readonly unknown[] = value
  return list.every((item) => typeof item === 'number' && Number.isSafeInteger(item) && item >= 0)
    ? (list as readonly number[])
    : undefined
}

function parseObject(json: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json))
    return isPlainObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
