/**
 * Makes small files that look like transformers in safetensors form: the same options give the same bytes. Written as a
 * stream, so that a large one is quick. The variants are what happens to models between versions.
 */
import { createCipheriv, createHash } from 'node:crypto'
import { open } from 'node:fs/promises'

/** Size of a model; all weights are F16. */
export interface ModelShape {
  readonly layers: number
  /** Width of the hidden state. */
  readonly hidden: number
  /** Rows of the embedding. */
  readonly vocabulary: number
}

/** What is different from the first version. */
export interface ModelChanges {
  /** Another model altogether. @default 'model' */
  readonly seed?: string
  /** The last layer was trained further. @default 0 */
  readonly lastLayerRevision?: number
  /** Bytes of text in the header's metadata. @default 0 */
  readonly metadataBytes?: number
  /** Tensors stand in the opposite order. @default false */
  readonly isReversed?: boolean
  /** Rows appended to the embedding. @default 0 */
  readonly extraRows?: number
}

interface Tensor {
  readonly name: string
  readonly shape: readonly number[]
  readonly bytes: number
  /** What its weights follow from. */
  readonly seed: string
}

const bytesOfF16 = 2
const blockBytes = 1024 * 1024

/** About 7.6 MB: large enough for several pieces, quick in every test. */
export const smallModel: ModelShape = Object.freeze({ layers: 4, hidden: 256, vocabulary: 2048 })

/** A shape of about this many bytes, with 12 layers. */
export function modelOf(sizeBytes: number): ModelShape {
  const layers = 12
  // 12 hidden^2 weights a layer, as in every transformer with a feed-forward of four times the width; the embedding is a fifth.
  const hidden = Math.max(64, Math.floor(Math.sqrt((sizeBytes * 0.8) / (bytesOfF16 * 12 * layers)) / 64) * 64)
  return { layers, hidden, vocabulary: Math.max(256, Math.floor((sizeBytes * 0.2) / (hidden * bytesOfF16))) }
}

/** Writes a model to a file. */
export async function writeSafetensors(path: string, shape: ModelShape, changes: ModelChanges = {}): Promise<void> {
  const file = await open(path, 'w')
  try {
    for (const block of blocksOf(shape, changes)) await file.write(block)
  } finally {
    await file.close()
  }
}

/** A model in memory. */
export function safetensorsBytes(shape: ModelShape, changes: ModelChanges = {}): Uint8Array {
  return new Uint8Array(Buffer.concat([...blocksOf(shape, changes)]))
}

/** Bytes of the header and its length field. */
export function headerBytesOf(file: Uint8Array): number {
  return 8 + Number(Buffer.from(file.buffer, file.byteOffset, 8).readBigUInt64LE())
}

/** Bytes that follow from a seed; as good as random to a chunker. */
export function seededBytes(seed: string, length: number): Uint8Array {
  return new Uint8Array(Buffer.concat([...seededBlocks(seed, length)]))
}

function* blocksOf(shape: ModelShape, changes: ModelChanges): Generator<Uint8Array> {
  const tensors = tensorsOf(shape, changes)
  yield headerOf(tensors, changes.metadataBytes ?? 0)
  for (const tensor of tensors) yield* seededBlocks(tensor.seed, tensor.bytes)
}

function headerOf(tensors: readonly Tensor[], metadataBytes: number): Uint8Array {
  const entries: Record<string, unknown> = { __metadata__: { format: 'pt', note: 'm'.repeat(metadataBytes) } }
  let begin = 0
  for (const { name, shape, bytes } of tensors) {
    entries[name] = { dtype: 'F16', shape, data_offsets: [begin, begin + bytes] }
    begin += bytes
  }
  const json = JSON.stringify(entries)
  const padded = json.padEnd(Math.ceil(json.length / 8) * 8, ' ')
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(padded.length))
  return Buffer.concat([length, Buffer.from(padded)])
}

function tensorsOf(shape: ModelShape, changes: ModelChanges): readonly Tensor[] {
  const { layers, hidden, vocabulary } = shape
  const tensors = [tensor('embedding.weight', [vocabulary + (changes.extraRows ?? 0), hidden], changes.seed)]
  for (let layer = 0; layer < layers; layer++) {
    const revision = layer === layers - 1 ? (changes.lastLayerRevision ?? 0) : 0
    const seed = `${changes.seed ?? 'model'}/${revision}`
    tensors.push(...layerOf(`layer.${layer}`, hidden, seed))
  }
  tensors.push(tensor('final_norm.weight', [hidden], changes.seed))
  return changes.isReversed === true ? tensors.toReversed() : tensors
}

function layerOf(name: string, hidden: number, seed: string): readonly Tensor[] {
  const square = ['query', 'key', 'value', 'output'].map((part) =>
    tensor(`${name}.${part}.weight`, [hidden, hidden], seed)
  )
  return [
    tensor(`${name}.attention_norm.weight`, [hidden], seed),
    ...square,
    tensor(`${name}.feed_norm.weight`, [hidden], seed),
    tensor(`${name}.feed_up.weight`, [4 * hidden, hidden], seed),
    tensor(`${name}.feed_down.weight`, [hidden, 4 * hidden], seed)
  ]
}

function tensor(name: string, shape: readonly number[], seed = 'model'): Tensor {
  const bytes = shape.reduce((product, size) => product * size, bytesOfF16)
  return { name, shape, bytes, seed: `${seed}/${name}` }
}

/** AES in counter mode over zeros: 2 GB/s, and rows appended to a tensor leave the earlier ones as they were. */
function* seededBlocks(seed: string, length: number): Generator<Uint8Array> {
  const key = createHash('sha256').update(seed).digest().subarray(0, 16)
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16))
  const zeros = Buffer.alloc(blockBytes)
  for (let left = length; left > 0; left -= blockBytes)
    yield cipher.update(zeros.subarray(0, Math.min(left, blockBytes)))
}
