/**
 * The check command of the demo's nodes: reads the model from `MODEL_DIRECTORY` and fails when a half-precision tensor
 * contains a value that is not a number.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

interface TensorHeader {
  readonly dtype: string
  readonly data_offsets: readonly [number, number]
}

const headerLengthBytes = 8
const exponentMask = 0x7c00
const fractionMask = 0x03ff

/** The name of the first tensor with a value that is not a number. */
function firstBroken(file: Buffer): string | undefined {
  const dataStart = headerLengthBytes + Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.toString('utf8', headerLengthBytes, dataStart)) as Record<string, TensorHeader>
  for (const [name, tensor] of Object.entries(header)) {
    if (name === '__metadata__' || tensor.dtype !== 'F16') continue
    const [begin, end] = tensor.data_offsets
    if (hasNaN(file.subarray(dataStart + begin, dataStart + end))) return name
  }
  return undefined
}

function hasNaN(bytes: Buffer): boolean {
  const aligned = new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
  return aligned.some((half) => (half & exponentMask) === exponentMask && (half & fractionMask) !== 0)
}

const broken = firstBroken(await readFile(join(process.env['MODEL_DIRECTORY'] ?? '.', 'model.safetensors')))
if (broken !== undefined) {
  console.error(`${broken} contains values that are not numbers`)
  process.exitCode = 1
}
