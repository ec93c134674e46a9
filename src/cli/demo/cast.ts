import type { Capabilities, VariantInput } from '../../index.js'

/** A node of the demo, as declared: the machine under all five is the same. */
export interface CastMember {
  readonly name: string
  readonly capabilities: Capabilities
  /** Most bytes that models may take. */
  readonly storageBytes?: number
}

const mib = 1024 * 1024

function gpu(memoryGb: number): Capabilities['gpus'] {
  return memoryGb === 0 ? [] : [{ name: `GPU ${memoryGb} GB`, memoryMb: memoryGb * 1024 }]
}

/** Five machines as unlike as a real site has them. */
export const cast: readonly CastMember[] = [
  { name: 'laptop', capabilities: { cpuArch: 'x86_64', gpus: gpu(0), providers: ['cpu'] } },
  { name: 'server', capabilities: { cpuArch: 'x86_64', gpus: gpu(16), providers: ['cuda', 'cpu'] } },
  { name: 'gate', capabilities: { cpuArch: 'aarch64', gpus: gpu(8), providers: ['cuda', 'cpu'] } },
  { name: 'mast', capabilities: { cpuArch: 'aarch64', gpus: gpu(4), providers: ['cuda', 'cpu'] } },
  {
    name: 'kiosk',
    capabilities: { cpuArch: 'x86_64', gpus: gpu(8), providers: ['cuda', 'cpu'] },
    storageBytes: 24 * mib
  }
]

/** The model that the demo delivers. */
export const model = 'detector'

/** Only machines with a GPU are meant: the laptop publishes, and is not in the scope. */
export const minGpuGb = 4

/** Two builds of each version: the full one for GPUs of 8 GB and more, the small one for 4 GB. */
export function variantsOf(fp16Path: string, int8Path: string): VariantInput[] {
  const name = 'model.safetensors'
  return [
    {
      id: 'fp16-cuda',
      files: [{ path: fp16Path, name }],
      precision: 'fp16',
      providers: ['cuda'],
      requirements: { gpuMemoryMb: 8 * 1024 }
    },
    {
      id: 'int8-cuda',
      files: [{ path: int8Path, name }],
      precision: 'int8',
      providers: ['cuda'],
      requirements: { gpuMemoryMb: 4 * 1024 }
    }
  ]
}
