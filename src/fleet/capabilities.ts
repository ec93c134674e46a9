import { z } from 'zod'

/** Most GPUs that a node can tell of. */
export const maxGpus = 64
const text = z.string().min(1).max(64)
const megabytes = z.number().nonnegative().finite()

/** A GPU. */
export interface Gpu {
  readonly name: string
  /** Its memory, MiB. */
  readonly memoryMb: number
}

/** What a node can do. A field that is absent is unknown, which is not the same as zero or none. */
export interface Capabilities {
  /** As `uname -m` has it: `x86_64`, `aarch64`. */
  readonly cpuArch?: string | undefined
  /** CPU cores that the process may use, rounded off. */
  readonly cpuCores?: number | undefined
  /** RAM, MiB; in a container what it may take. */
  readonly memoryMb?: number | undefined
  /** Each GPU; an empty list says that there is none. */
  readonly gpus?: readonly Gpu[] | undefined
  /** Disk space that models may take, those that are there among them, MiB. */
  readonly storageMb?: number | undefined
  /** Execution providers: `cpu`, `cuda`, `tensorrt`, `openvino`, `coreml`. */
  readonly providers?: readonly string[] | undefined
}

/** The form of `Capabilities`. */
export const capabilitiesSchema = z.object({
  cpuArch: text.optional(),
  cpuCores: z.number().int().positive().optional(),
  memoryMb: megabytes.optional(),
  gpus: z
    .array(z.object({ name: text, memoryMb: megabytes }))
    .max(maxGpus)
    .optional(),
  storageMb: megabytes.optional(),
  providers: z.array(text).max(32).optional()
}) satisfies z.ZodType<Capabilities>

/** Memory of the largest GPU in MiB; 0 when there is none, undefined when unknown. */
export function gpuMemoryMb(capabilities: Capabilities): number | undefined {
  return capabilities.gpus === undefined ? undefined : Math.max(0, ...capabilities.gpus.map((gpu) => gpu.memoryMb))
}
