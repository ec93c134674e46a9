import '../../../src/core/polyfill.js'
import { chmod, mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.js'
import { capabilitiesSchema, gpuMemoryMb, type Capabilities } from '../../../src/fleet/capabilities.js'
import { systemMachine } from '../../../src/fleet/machine.js'
import { parseNvidia, probeCapabilities } from '../../../src/fleet/probe.js'
import { fakeMachine } from './machines.js'

let directory: string
const machine = systemMachine(systemEnvironment.clock)
const probe = (path: string): Promise<Capabilities> => probeCapabilities(machine, path)
const path = process.env['PATH'] ?? ''

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-probe-'))
})

afterEach(async () => {
  process.env['PATH'] = path
  await rm(directory, { recursive: true, force: true })
})

/** Puts a program in front of the one that the probe would find. */
async function fakeNvidiaSmi(script: string): Promise<void> {
  await writeFile(join(directory, 'nvidia-smi'), `#!/bin/sh\n${script}\n`)
  await chmod(join(directory, 'nvidia-smi'), 0o755)
  process.env['PATH'] = `${directory}${delimiter}${path}`
}

test('[FLEET-1] the probe tells only what it found out, in the form that the mesh takes', async () => {
  const found = await probe(join(directory, 'no/such/place'))
  expect(capabilitiesSchema.parse(found)).toEqual(found)
  expect('storageMb' in found).toBe(false)
  expect(found.memoryMb).toBeGreaterThan(0)
  expect(found.providers).toContain('cpu')
  expect((await probe(directory)).storageMb).toBeGreaterThanOrEqual(0)
})

test('[FLEET-1] the models that are here count as space for models: they must not push their own node out of a scope', async () => {
  await mkdir(join(directory, 'blobs/parts'), { recursive: true })
  await writeFile(join(directory, 'blobs/model'), Buffer.alloc(3 * 1024 * 1024, 1))
  await writeFile(join(directory, 'blobs/parts/sparse'), '')
  await truncate(join(directory, 'blobs/parts/sparse'), 1024 * 1024 * 1024)
  expect(Math.round(((await machine.usedBytes(directory)) ?? 0) / 1024 / 1024)).toBe(3)
})

test('[FLEET-1] GPUs are as nvidia-smi tells them, whatever the maker calls them', async () => {
  await fakeNvidiaSmi('echo "Tesla T4, 15360"; echo "NVIDIA A2, Ampere, 15356"')
  const found = await probe(directory)
  expect(found.gpus?.slice(0, 2)).toEqual([
    { name: 'Tesla T4', memoryMb: 15360 },
    { name: 'NVIDIA A2, Ampere', memoryMb: 15356 }
  ])
  expect(found.providers).toEqual(['cuda', 'cpu'])
})

test('[FLEET-1] a GPU that does not tell its memory makes the memory unknown, not zero; the node still has CUDA', async () => {
  await fakeNvidiaSmi('echo "NVIDIA GB10, [N/A]"')
  const found = await probe(directory)
  expect('gpus' in found).toBe(false)
  expect(gpuMemoryMb(found)).toBeUndefined()
  expect(found.providers).toEqual(['cuda', 'cpu'])
})

test.each([
  'exit 9',
  'echo "No devices were found"',
  'echo ""',
  'echo "NVIDIA-SMI has failed because it could not communicate"'
])('[FLEET-1] an nvidia-smi that does %j says nothing about GPUs', async (script) => {
  await fakeNvidiaSmi(script)
  const found = await probe(directory)
  expect(found.providers).toEqual(['cpu'])
  expect(found.gpus?.some(({ name }) => name !== 'AMD GPU') ?? false).toBe(false)
})

test('[FLEET-1] lines of nvidia-smi are read strictly', () => {
  expect(parseNvidia('NVIDIA A2, 15356\r\n\n  Quadro P400 ,  2048  \n')).toEqual([
    { name: 'NVIDIA A2', memoryMb: 15356 },
    { name: 'Quadro P400', memoryMb: 2048 }
  ])
  expect(parseNvidia('NVIDIA GB10, [Not Supported]')).toEqual([{ name: 'NVIDIA GB10', memoryMb: undefined }])
  for (const line of [
    'NVIDIA A2,',
    'NVIDIA A2, ',
    '15356',
    ', 15356',
    'NVIDIA A2, -5',
    'NVIDIA A2, 1e9',
    'NVIDIA A2, 0x10'
  ]) {
    expect([line, parseNvidia(line)]).toEqual([line, []])
  }
  expect(parseNvidia(`${'x'.repeat(500)}, 1`)[0]?.name).toHaveLength(64)
  expect(parseNvidia(`${'x'.repeat(1e6)}, 1`)).toEqual([])
  expect(parseNvidia('NVIDIA A2\u0007, 15356')).toEqual([{ name: 'NVIDIA A2?', memoryMb: 15356 }])
  // A number that no schema takes must not keep the node from describing itself.
  expect(parseNvidia(`NVIDIA A2, ${'9'.repeat(400)}`)).toEqual([{ name: 'NVIDIA A2', memoryMb: undefined }])
})

test('[FLEET-1] no GPU is 0 MiB, an unknown one is not', () => {
  expect(gpuMemoryMb({ gpus: [] })).toBe(0)
  expect(gpuMemoryMb({})).toBeUndefined()
  expect(
    gpuMemoryMb({
      gpus: [
        { name: 'a', memoryMb: 4 },
        { name: 'b', memoryMb: 8 }
      ]
    })
  ).toBe(8)
})

test('[FLEET-49] in a container the limits count, those of the groups around it too', async () => {
  const machine = fakeMachine({
    cores: 64,
    memoryBytes: 256 * 1024 ** 3,
    files: {
      '/proc/self/cgroup': '0::/system.slice/edge.service/worker\n',
      '/sys/fs/cgroup/system.slice/edge.service/memory.max': '1073741824\n',
      '/sys/fs/cgroup/system.slice/edge.service/worker/memory.max': 'max\n',
      '/sys/fs/cgroup/system.slice/cpu.max': '400000 100000\n',
      '/sys/fs/cgroup/system.slice/edge.service/worker/cpu.max': '250000 100000\n'
    }
  })
  expect(await probeCapabilities(machine, '/data')).toMatchObject({ cpuCores: 2, memoryMb: 1024 })
})

test.each<[string, Record<string, string>, { cpuCores: number; memoryMb: number }]>([
  ['no control groups', {}, { cpuCores: 8, memoryMb: 16384 }],
  [
    'no limit',
    { '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': 'max 100000\n' },
    { cpuCores: 8, memoryMb: 16384 }
  ],
  [
    'less than a core',
    { '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': '50000 100000\n' },
    { cpuCores: 1, memoryMb: 16384 }
  ],
  [
    'no cgroup file, but limits at the root',
    { '/sys/fs/cgroup/memory.max': '536870912' },
    { cpuCores: 8, memoryMb: 512 }
  ],
  [
    'malformed files',
    {
      '/proc/self/cgroup': '::::\n0::/../../etc\n',
      '/sys/fs/cgroup/memory.max': '-5\n',
      '/sys/fs/cgroup/cpu.max': '1 0\n',
      '/sys/fs/cgroup/etc/memory.max': '0\n'
    },
    { cpuCores: 8, memoryMb: 16384 }
  ],
  [
    'the first version',
    {
      '/proc/self/cgroup': '12:cpu,cpuacct:/docker/1f\n11:memory:/docker/1f\n0::/\n',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': '2147483648\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '300000\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n'
    },
    { cpuCores: 3, memoryMb: 2048 }
  ],
  [
    'the first version without limits',
    {
      '/proc/self/cgroup': '12:cpu,cpuacct:/\n11:memory:/\n',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n'
    },
    { cpuCores: 8, memoryMb: 16384 }
  ]
])('[FLEET-49] control groups: %s', async (_, files, expected) => {
  expect(await probeCapabilities(fakeMachine({ files }), '/data')).toMatchObject(expected)
})

test('[FLEET-49] a Jetson board has CUDA, and GPU memory that nobody knows, whatever nvidia-smi says', async () => {
  const files = { '/proc/device-tree/model': 'NVIDIA Jetson AGX Orin Developer Kit\0' }
  const board = { arch: 'arm64', files, directories: { '/dev': ['null', 'nvmap', 'nvhost-gpu'] } }
  for (const nvidiaSmi of [undefined, 'Orin (nvgpu), [N/A]\n', 'Orin (nvgpu), 0\n']) {
    const found = await probeCapabilities(fakeMachine({ ...board, nvidiaSmi }), '/data')
    expect(found).toMatchObject({ cpuArch: 'aarch64', providers: ['cuda', 'cpu'] })
    expect('gpus' in found).toBe(false)
  }
  const contained = await probeCapabilities(fakeMachine({ ...board, directories: { '/dev': ['null'] } }), '/data')
  expect(contained.providers).toEqual(['cpu'])
  const raspberry = { ...board, files: { '/proc/device-tree/model': 'Raspberry Pi 5 Model B Rev 1.0\0' } }
  expect((await probeCapabilities(fakeMachine(raspberry), '/data')).providers).toEqual(['cpu'])
})

test('[FLEET-1] AMD GPUs are as the driver tells them; what it does not tell is unknown', async () => {
  const found = await probeCapabilities(
    fakeMachine({
      directories: { '/sys/class/drm': ['card0', 'card0-HDMI-A-1', 'card1', 'renderD128'] },
      files: {
        '/sys/class/drm/card0/device/mem_info_vram_total': '17163091968\n',
        '/sys/class/drm/card1/device/mem_info_vram_total': 'garbage'
      }
    }),
    '/data'
  )
  expect(found.gpus).toEqual([{ name: 'AMD GPU', memoryMb: 16368 }])
  expect(found.providers).toEqual(['cpu'])
})

test('[FLEET-49] an nvidia-smi that hangs and does not want to die is killed, and waited for no longer', async () => {
  await fakeNvidiaSmi(`echo $$ > ${directory}/pid; trap '' TERM; while :; do :; done`)
  expect(await machine.run('nvidia-smi', [], 200)).toBeUndefined()
  const pid = Number(await readFile(join(directory, 'pid'), 'utf8'))
  expect(() => process.kill(pid, 0)).toThrow('ESRCH')
})
