/**
 * Makes the demo's model: a real safetensors file with the shapes of a small transformer and pseudo-random weights.
 * https://huggingface.co/docs/safetensors/index#format
 */
import { open, type FileHandle } from 'node:fs/promises'

/** What a model file is to contain. */
export interface ModelFileInit {
  readonly precision: 'fp16' | 'int8'
  /** Layers whose weights come from a seed of their own, as after fine-tuning: layer -> seed. */
  readonly changedLayers?: ReadonlyMap<number, number>
  /** Puts not-a-number into the last norm, as a training run that diverged does. */
  readonly diverged?: boolean
}

interface Tensor {
  readonly name: string
  readonly dtype: 'F16' | 'I8'
  readonly shape: readonly number[]
  readonly seed: number
}

/** 15 144 x 512 embeddings and 8 layers of 3.2 million weights: 64 MiB in fp16, 32 MiB in int8. */
const vocabulary = 15_144
const width = 512
const hidden = 1416
const layers = 8
/** Not a number in IEEE half precision: exponent all ones, fraction not zero. */
const nan = 0x7e00
const alignment = 8

/** Writes a model file; returns its size in bytes. */
export async function writeModelFile(path: string, init: ModelFileInit): Promise<number> {
  const tensors = describe(init)
  const header = headerOf(tensors)
  const file = await open(path, 'w')
  try {
    await file.appendFile(header)
    for (const tensor of tensors)
      await file.appendFile(weights(tensor, init.diverged === true && tensor.name === 'model.norm.weight'))
    return await sizeOf(file)
  } finally {
    await file.close()
  }
}

async function sizeOf(file: FileHandle): Promise<number> {
  return (await file.stat()).size
}

function describe({ precision, changedLayers }: ModelFileInit): Tensor[] {
  const dtype = precision === 'fp16' ? 'F16' : 'I8'
  const tensors: Tensor[] = [{ name: 'model.embed_tokens.weight', dtype, shape: [vocabulary, width], seed: 1 }]
  for (let layer = 0; layer < layers; layer++) {
    const seed = changedLayers?.get(layer) ?? 1
    for (const [part, shape] of layerShapes()) {
      const isNorm = part.endsWith('layernorm')
      tensors.push({ name: `model.layers.${layer}.${part}.weight`, dtype: isNorm ? 'F16' : dtype, shape, seed })
    }
  }
  // Norms stay in half precision even where the weights are quantised.
  return [...tensors, { name: 'model.norm.weight', dtype: 'F16', shape: [width], seed: 1 }]
}

function layerShapes(): [part: string, shape: number[]][] {
  return [
    ['input_layernorm', [width]],
    ['mlp.down_proj', [width, hidden]],
    ['mlp.gate_proj', [hidden, width]],
    ['mlp.up_proj', [hidden, width]],
    ['post_attention_layernorm', [width]],
    ['self_attn.k_proj', [width, width]],
    ['self_attn.o_proj', [width, width]],
    ['self_attn.q_proj', [width, width]],
    ['self_attn.v_proj', [width, width]]
  ]
}

function byteLength({ dtype, shape }: Tensor): number {
  return shape.reduce((product, side) => product * side, dtype === 'F16' ? 2 : 1)
}

function headerOf(tensors: readonly Tensor[]): Uint8Array {
  let offset = 0
  const entries = tensors.map((tensor) => {
    const data_offsets = [offset, (offset += byteLength(tensor))]
    return [tensor.name, { dtype: tensor.dtype, shape: tensor.shape, data_offsets }] as const
  })
  const json = JSON.stringify({ __metadata__: { format: 'pt' }, ...Object.fromEntries(entries) })
  const padded = Buffer.from(json.padEnd(Math.ceil(json.length / alignment) * alignment))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(padded.byteLength))
  return Buffer.concat([length, padded])
}

/** Weights around zero with the spread of trained ones; the same for the same name and seed. */
function weights(tensor: Tensor, diverged: boolean): Uint8Array {
  const bytes = new Uint8Array(byteLength(tensor))
  const words = new Uint16Array(bytes.buffer, 0, bytes.byteLength >>> 1)
  let state = seedOf(tensor)
  for (let at = 0; at < words.length; at++) {
    // xorshift32, Marsaglia 2003.
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    // Half precision with exponents of 2^-8 to 2^-5; any two bytes do for int8.
    words[at] = tensor.dtype === 'F16' ? (state & 0x83ff) | ((((state >>> 16) & 3) + 7) << 10) : state
  }
  if (diverged) words[words.length >>> 1] = nan
  return bytes
}

/** FNV-1a over the name, mixed with the seed; never zero, which xorshift would keep. */
function seedOf({ name, seed }: Tensor): number {
  let hash = 0x811c9dc5 ^ Math.imul(seed, 0x9e3779b1)
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193)
  return hash | 1
}
