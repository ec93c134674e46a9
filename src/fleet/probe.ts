import { posix } from 'node:path'
import { maxGpus, type Capabilities, type Gpu } from './capabilities.js'
import { readLimits } from './cgroup.js'
import type { Machine } from './machine.js'

const bytesPerMb = 1024 * 1024
const nvidiaTimeoutMs = 5000

/** Looks at a machine. What cannot be found out stays absent. */
export async function probeCapabilities(machine: Machine, dataDir: string): Promise<Capabilities> {
  const [limits, nvidia, amd, hasTegra, storageMb] = await Promise.all([
    readLimits(machine),
    probeNvidia(machine),
    probeAmd(machine),
    probeTegra(machine),
    probeStorageMb(machine, dataDir)
  ])
  const gpus = hasTegra ? undefined : knownGpus([...(nvidia ?? []), ...amd])
  const hasCuda = nvidia !== undefined || hasTegra
  return {
    cpuArch: unameArch(machine.arch()),
    // A part of a core is rounded off, but no node has none.
    cpuCores: Math.max(1, Math.floor(Math.min(machine.cores(), limits.cores ?? Infinity))),
    memoryMb: Math.floor(Math.min(machine.memoryBytes(), limits.memoryBytes ?? Infinity) / bytesPerMb),
    ...(gpus === undefined ? {} : { gpus }),
    ...(storageMb === undefined ? {} : { storageMb }),
    providers: hasCuda ? ['cuda', 'cpu'] : ['cpu']
  }
}

/**
 * Space that models may take on the disk that holds the directory, MiB: what is free for this user, and what the directory
 * has already. So a node does not drop out of a scope because of the very models that it was sent.
 */
export async function probeStorageMb(machine: Machine, directory: string): Promise<number | undefined> {
  const [free, used] = await Promise.all([machine.freeBytes(directory), machine.usedBytes(directory)])
  return free === undefined || used === undefined ? undefined : Math.floor((free + used) / bytesPerMb)
}

/** Node names architectures its own way; the field uses those of the kernel. */
function unameArch(name: string): string {
  const names: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64', ia32: 'i686' }
  return names[name] ?? name
}

/** A GPU whose memory its driver may not tell. */
interface FoundGpu {
  readonly name: string
  readonly memoryMb: number | undefined
}

/** All GPUs; undefined when none was found, which proves nothing, or when the memory of one is unknown. */
function knownGpus(all: readonly FoundGpu[]): readonly Gpu[] | undefined {
  const found = all.slice(0, maxGpus)
  const known = found.flatMap(({ name, memoryMb }) => (memoryMb === undefined ? [] : [{ name, memoryMb }]))
  return found.length > 0 && known.length === found.length ? known : undefined
}

/**
 * Whether this is an NVIDIA board whose GPU shares the RAM (Jetson) and whose GPU can be reached from here: in a container
 * the board shows, and its devices need not. How much of the RAM models may take depends on everything else that runs, so
 * the GPU's memory is unknown until somebody declares it.
 */
async function probeTegra(machine: Machine): Promise<boolean> {
  const model = (await machine.readText('/proc/device-tree/model')) ?? ''
  if (!/jetson|tegra/i.test(model)) return false
  const devices = (await machine.list('/dev')) ?? []
  return devices.some((name) => /^(?:nvhost-gpu|nvhost-ctrl-gpu|nvgpu|nvmap)$/.test(name))
}

/** Asks `nvidia-smi`. Undefined where it is missing, fails or finds none: that says nothing about other makers' GPUs. */
async function probeNvidia(machine: Machine): Promise<readonly FoundGpu[] | undefined> {
  const query = ['--query-gpu=name,memory.total', '--format=csv,noheader,nounits']
  const gpus = parseNvidia((await machine.run('nvidia-smi', query, nvidiaTimeoutMs)) ?? '')
  return gpus.length === 0 ? undefined : gpus
}

/**
 * Reads lines such as `NVIDIA A2, 15356`. Memory that the driver does not tell, `[N/A]`, is unknown; so is an amount of more
 * than 9 digits: a petabyte is a mistake.
 */
export function parseNvidia(output: string): readonly FoundGpu[] {
  return output.split('\n').flatMap((line) => {
    const [, name, memory] = /^\s*(\S.*?)\s*,\s*(\d+|\[[^\]]*\])\s*$/.exec(line.slice(0, 1000)) ?? []
    if (name === undefined || memory === undefined) return []
    const printable = name.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 64)
    return [{ name: printable, memoryMb: /^\d{1,9}$/.test(memory) ? Number(memory) : undefined }]
  })
}

/** The amdgpu driver tells the memory in a file, https://docs.kernel.org/gpu/amdgpu/driver-misc.html */
async function probeAmd(machine: Machine): Promise<readonly FoundGpu[]> {
  const drm = '/sys/class/drm'
  const cards = ((await machine.list(drm)) ?? []).filter((name) => /^card\d+$/.test(name))
  const texts = await Promise.all(
    cards.map((card) => machine.readText(posix.join(drm, card, 'device/mem_info_vram_total')))
  )
  return texts.flatMap((text) =>
    /^\d{1,15}$/.test(text?.trim() ?? '') ? [{ name: 'AMD GPU', memoryMb: Math.floor(Number(text) / bytesPerMb) }] : []
  )
}
