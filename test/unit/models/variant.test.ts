import '../../../src/core/polyfill.js'
import { expect, test } from 'vitest'
import { parseModelId, parseVariantId, parseVersion } from '../../../src/core/ids.js'
import type { Capabilities } from '../../../src/fleet/capabilities.js'
import type { Variant } from '../../../src/models/release.js'
import {
  closestRejection,
  selectVariant,
  type VariantQuestion,
  type VariantRejection
} from '../../../src/models/variant.js'
import { releaseOf } from '../../support/rollouts.js'

const mb = 1024 * 1024
const rich: Capabilities = {
  cpuArch: 'x86_64',
  memoryMb: 16_384,
  gpus: [{ name: 'GPU', memoryMb: 8192 }],
  storageMb: 100_000,
  providers: ['cuda', 'cpu']
}

const variantOf = (id: string, parts: Partial<Variant> = {}): Variant => {
  return { id: parseVariantId(id), manifest: releaseOf(id), sizeBytes: mb, providers: [], requirements: {}, ...parts }
}

function choose(variants: readonly Variant[], parts: Partial<VariantQuestion> = {}): string | undefined {
  return choice(variants, parts).variant?.id
}

function choice(variants: readonly Variant[], parts: Partial<VariantQuestion> = {}): ReturnType<typeof selectVariant> {
  const release = { model: parseModelId('m'), version: parseVersion('1.0.0'), variants: [...variants], metadata: {} }
  return selectVariant({ release, capabilities: rich, ...parts })
}

function rejection(variant: Partial<Variant>, parts: Partial<VariantQuestion> = {}): VariantRejection | undefined {
  return choice([variantOf('v', variant)], parts).rejections[0]
}

test('[MODEL-3] the fastest provider that both sides have comes first, then precision, then size', () => {
  const cpu = variantOf('cpu', { providers: ['cpu'], sizeBytes: 9 * mb })
  const cuda = variantOf('cuda', { providers: ['cuda'] })
  const tensorrt = variantOf('tensorrt', { providers: ['tensorrt'], sizeBytes: 9 * mb })
  const both = variantOf('both', { providers: ['tensorrt', 'cpu'], sizeBytes: 8 * mb })
  const any = variantOf('any', { sizeBytes: 9 * mb })
  expect(choose([cpu, any, tensorrt, both, cuda])).toBe('cuda')
  expect(choose([any, both, cpu])).toBe('cpu')
  expect(choose([any, both])).toBe('both')
  expect(choose([any, cuda, cpu], { providerOrder: ['cpu', 'cuda'] })).toBe('cpu')
  const [int8, fp16, large] = [
    variantOf('int8', { precision: 'int8' }),
    variantOf('fp16', { precision: 'fp16' }),
    variantOf('large', { precision: 'fp16', sizeBytes: 2 * mb })
  ]
  expect(choose([int8, fp16, large], { selector: { preferredPrecision: 'int8' } })).toBe('int8')
  expect(choose([int8, fp16, large])).toBe('large')
  expect(choose([int8, cuda], { selector: { preferredPrecision: 'int8' } })).toBe('cuda')
  expect(choose([variantOf('b'), variantOf('a')])).toBe('a')
})

test('[MODEL-3] a pinned variant is taken or none', () => {
  const variants = [variantOf('a'), variantOf('b', { sizeBytes: 2 * mb })]
  expect(choose(variants, { pinned: parseVariantId('a') })).toBe('a')
  expect(choose(variants, { pinned: parseVariantId('c') })).toBeUndefined()
  expect(rejection({}, { pinned: parseVariantId('c') })?.message).toBe('the rollout asks for variant c')
})

test('[MODEL-4] each demand that is not met is named with its numbers', () => {
  const cases: readonly (readonly [Partial<Variant>, Partial<VariantRejection>])[] = [
    [
      { requirements: { gpuMemoryMb: 8193 } },
      { reason: 'insufficientGpuMemory', required: 8193, available: 8192, unit: 'MiB' }
    ],
    [
      { requirements: { memoryMb: 20_000 } },
      { reason: 'incompatibleCapabilities', subject: 'RAM', required: 20_000, available: 16_384 }
    ],
    [
      { requirements: { storageMb: 100_001 } },
      { reason: 'insufficientStorage', required: 100_001, available: 100_000 }
    ],
    [{ sizeBytes: 100_000 * mb + 1 }, { reason: 'insufficientStorage', required: 100_001, available: 100_000 }],
    [
      { requirements: { cpuArch: ['aarch64', 'riscv64'] } },
      { reason: 'incompatibleCapabilities', message: 'needs aarch64 or riscv64, the node has x86_64' }
    ],
    [
      { providers: ['tensorrt'] },
      { reason: 'incompatibleCapabilities', message: 'needs tensorrt, the node has cuda, cpu' }
    ]
  ]
  for (const [variant, expected] of cases) expect(rejection(variant)).toMatchObject({ variant: 'v', ...expected })
  const fits = { gpuMemoryMb: 8192, memoryMb: 16_384, storageMb: 100_000, cpuArch: ['x86_64'] }
  expect(
    choose([variantOf('fits', { requirements: fits, sizeBytes: 100_000 * mb, providers: ['tensorrt', 'cuda'] })])
  ).toBe('fits')
})

test('[MODEL-2] what a node does not know of itself meets no demand, and is not shown as 0; unknown space is found out by trying', () => {
  const capabilities = {}
  const gpu = rejection({ requirements: { gpuMemoryMb: 1 } }, { capabilities })
  expect(gpu).toMatchObject({ reason: 'insufficientGpuMemory', required: 1 })
  expect('available' in (gpu ?? {})).toBe(false)
  expect(rejection({ requirements: { gpuMemoryMb: 1 } }, { capabilities: { gpus: [] } })).toMatchObject({
    available: 0
  })
  expect(rejection({ requirements: { memoryMb: 1 } }, { capabilities })?.message).toBe(
    'needs 1 MiB of RAM, the node has an unknown amount'
  )
  expect(rejection({ requirements: { cpuArch: ['x86_64'] } }, { capabilities })?.message).toMatch(/an unknown one$/)
  expect(rejection({ providers: ['cpu'] }, { capabilities })?.message).toMatch(/unknown ones$/)
  expect(rejection({ sizeBytes: 1e12 }, { capabilities })).toBeUndefined()
  expect(rejection({ requirements: { gpuMemoryMb: 0, memoryMb: 0 } }, { capabilities })).toBeUndefined()
})

test('[MODEL-4] what an operator asks of the choice is honoured (a14)', () => {
  const variants = [
    variantOf('small', { providers: ['cpu'] }),
    variantOf('large', { providers: ['cuda', 'cpu'], sizeBytes: 100 * mb })
  ]
  expect(choose(variants)).toBe('large')
  expect(choose(variants, { selector: { maxSizeBytes: 10 * mb } })).toBe('small')
  expect(choose(variants, { selector: { requiredProviders: ['cuda', 'cpu'] } })).toBe('large')
  expect(choose(variants, { selector: { requiredProviders: ['cuda'], maxSizeBytes: mb } })).toBeUndefined()
})

test('[MODEL-4] of all rejections the closest to a fit is the one that the node could mend first', () => {
  const { rejections } = choice([
    variantOf('arch', { requirements: { cpuArch: ['aarch64'] } }),
    variantOf('gpu-far', { requirements: { gpuMemoryMb: 90_000 } }),
    variantOf('gpu-near', { requirements: { gpuMemoryMb: 9000 } })
  ])
  expect(rejections.map(({ variant }) => variant)).toEqual(['arch', 'gpu-far', 'gpu-near'])
  expect(closestRejection(rejections)?.variant).toBe('gpu-near')
  const disk = choice([variantOf('disk', { requirements: { storageMb: 1e6 } })]).rejections
  expect(closestRejection([...rejections, ...disk])?.variant).toBe('disk')
  expect(closestRejection([])).toBeUndefined()
})

test('[MODEL-4] space that an interrupted transfer took counts for its own variant only', () => {
  const [large, small] = [variantOf('large', { sizeBytes: 9 * mb }), variantOf('small', { sizeBytes: 8 * mb })]
  const storageMbFor = new Map([
    [large.id, 1],
    [small.id, 8]
  ])
  expect(choose([large, small], { storageMbFor })).toBe('small')
})
