import { execFile } from 'node:child_process'
import { lstat, readFile, readdir, statfs } from 'node:fs/promises'
import { arch, cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { systemCode } from '../core/errors.js'

const bytesPerMb = 1024 * 1024
const nvidiaTimeoutMs = 5000
const maxGpus = 64
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
  readonly cpuCores?: number | undefined
  /** RAM, MiB. */
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

/** Looks at this machine. What cannot be found out stays absent. */
export async function probeCapabilities(dataDir: string): Promise<Capabilities> {
  const [nvidia, amd, storageMb] = await Promise.all([probeNvidia(), probeAmd(), probeStorageMb(dataDir)])
  const gpus = knownGpus(nvidia, amd)
  return {
    cpuArch: unameArch(),
    cpuCores: cpus().length,
    memoryMb: Math.floor(totalmem() / bytesPerMb),
    ...(gpus === undefined ? {} : { gpus }),
    ...(storageMb === undefined ? {} : { storageMb }),
    providers: nvidia === undefined ? ['cpu'] : ['cuda', 'cpu']
  }
}

/**
 * Space that models may take on the disk that holds the directory, MiB: what is free for this user, and what the directory
 * has already. So a node does not drop out of a scope because of the very models that it was sent.
 */
async function probeStorageMb(directory: string): Promise<number | undefined> {
  try {
    const { bavail, bsize } = await statfs(directory)
    return Math.floor((bavail * bsize + (await usedBytes(directory))) / bytesPerMb)
  } catch {
    return undefined
  }
}

/** `st_blocks` of stat(2), whatever the file system's own block size. */
const bytesPerBlock = 512

/** Disk space of all files below a directory; holes take none. */
export async function usedBytes(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const sizes = await Promise.all(files.map(async (file) => (await lstat(file)).blocks * bytesPerBlock))
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** Node names architectures its own way; the field uses those of the kernel. */
function unameArch(): string {
  const names: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64', ia32: 'i686' }
  return names[arch()] ?? arch()
}

type Gpus = NonNullable<Capabilities['gpus']>

/** A GPU whose memory its driver may not tell. */
interface FoundGpu {
  readonly name: string
  readonly memoryMb: number | undefined
}

/** All GPUs; undefined when none was found, which proves nothing, or when the memory of one is unknown. */
function knownGpus(nvidia: readonly FoundGpu[] = [], amd: readonly FoundGpu[] = []): Gpus | undefined {
  const found = [...nvidia, ...amd].slice(0, maxGpus)
  const known = found.flatMap(({ name, memoryMb }) => (memoryMb === undefined ? [] : [{ name, memoryMb }]))
  return found.length > 0 && known.length === found.length ? known : undefined
}

/** Asks `nvidia-smi`. Undefined where it is missing, fails or finds none: that says nothing about other makers' GPUs. */
async function probeNvidia(): Promise<readonly FoundGpu[] | undefined> {
  const query = ['--query-gpu=name,memory.total', '--format=csv,noheader,nounits']
  try {
    const { stdout } = await promisify(execFile)('nvidia-smi', query, { timeout: nvidiaTimeoutMs })
    const gpus = parseNvidia(stdout)
    return gpus.length === 0 ? undefined : gpus
  } catch {
    return undefined
  }
}

/** Reads lines such as `NVIDIA A2, 15356`; memory that the driver does not tell, `[N/A]`, is unknown. */
export function parseNvidia(output: string): readonly FoundGpu[] {
  return output.split('\n').flatMap((line) => {
    const [, name, memory] = /^\s*(\S.*?)\s*,\s*(\d+|\[[^\]]*\])\s*$/.exec(line) ?? []
    if (name === undefined || memory === undefined) return []
    return [{ name: name.slice(0, 64), memoryMb: memory.startsWith('[') ? undefined : Number(memory) }]
  })
}

/** The amdgpu driver tells the memory in a file, https://docs.kernel.org/gpu/amdgpu/driver-misc.html */
async function probeAmd(): Promise<readonly FoundGpu[]> {
  const root = '/sys/class/drm'
  try {
    const cards = (await readdir(root)).filter((name) => /^card\d+$/.test(name))
    const found = await Promise.all(cards.map((card) => readAmdMemory(join(root, card, 'device/mem_info_vram_total'))))
    return found.flatMap((memoryMb) => (memoryMb === undefined ? [] : [{ name: 'AMD GPU', memoryMb }]))
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    return []
  }
}

async function readAmdMemory(path: string): Promise<number | undefined> {
  try {
    const text = (await readFile(path, 'utf8')).trim()
    return /^\d+$/.test(text) ? Math.floor(Number(text) / bytesPerMb) : undefined
  } catch {
    return undefined
  }
}
