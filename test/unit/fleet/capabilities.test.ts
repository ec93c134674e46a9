import '../../../src/core/polyfill.js'
import { chmod, mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  capabilitiesSchema,
  gpuMemoryMb,
  parseNvidia,
  probeCapabilities,
  usedBytes
} from '../../../src/fleet/capabilities.js'

let directory: string
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
  const found = await probeCapabilities(join(directory, 'no/such/place'))
  expect(capabilitiesSchema.parse(found)).toEqual(found)
  expect('storageMb' in found).toBe(false)
  expect(found.memoryMb).toBeGreaterThan(0)
  expect(found.providers).toContain('cpu')
  expect((await probeCapabilities(directory)).storageMb).toBeGreaterThanOrEqual(0)
})

test('[FLEET-1] the models that are here count as space for models: they must not push their own node out of a scope', async () => {
  await mkdir(join(directory, 'blobs/parts'), { recursive: true })
  await writeFile(join(directory, 'blobs/model'), Buffer.alloc(3 * 1024 * 1024, 1))
  await writeFile(join(directory, 'blobs/parts/sparse'), '')
  await truncate(join(directory, 'blobs/parts/sparse'), 1024 * 1024 * 1024)
  expect(Math.round((await usedBytes(directory)) / 1024 / 1024)).toBe(3)
})

test('[FLEET-1] GPUs are as nvidia-smi tells them, whatever the maker calls them', async () => {
  await fakeNvidiaSmi('echo "Tesla T4, 15360"; echo "NVIDIA A2, Ampere, 15356"')
  const found = await probeCapabilities(directory)
  expect(found.gpus?.slice(0, 2)).toEqual([
    { name: 'Tesla T4', memoryMb: 15360 },
    { name: 'NVIDIA A2, Ampere', memoryMb: 15356 }
  ])
  expect(found.providers).toEqual(['cuda', 'cpu'])
})

test('[FLEET-1] a GPU that does not tell its memory makes the memory unknown, not zero; the node still has CUDA', async () => {
  await fakeNvidiaSmi('echo "NVIDIA GB10, [N/A]"')
  const found = await probeCapabilities(directory)
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
  const found = await probeCapabilities(directory)
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
