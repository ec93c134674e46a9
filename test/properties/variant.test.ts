import '../../src/core/polyfill.js'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseModelId, parseVariantId, parseVersion } from '../../src/core/ids.js'
import type { Capabilities } from '../../src/fleet/capabilities.js'
import type { Variant } from '../../src/models/release.js'
import { selectVariant } from '../../src/models/variant.js'
import { releaseOf } from '../support/rollouts.js'

const providers = fc.subarray(['tensorrt', 'cuda', 'cpu', 'npu'])
const amount = fc.option(fc.nat(8), { nil: undefined })

const anyVariants: fc.Arbitrary<Variant[]> = fc
  .uniqueArray(
    fc.record({
      number: fc.nat(20),
      sizeBytes: fc.nat(4),
      precision: fc.option(fc.constantFrom('fp16', 'int8'), { nil: undefined }),
      providers,
      gpuMemoryMb: amount,
      memoryMb: amount
    }),
    { selector: ({ number }) => number, minLength: 1, maxLength: 6 }
  )
  .map((drafts) =>
    drafts.map(({ number, sizeBytes, precision, providers: own, ...requirements }) => ({
      id: parseVariantId(`v${number}`),
      manifest: releaseOf(`v${number}`),
      sizeBytes,
      ...(precision === undefined ? {} : { precision }),
      providers: own,
      requirements
    }))
  )

const anyCapabilities: fc.Arbitrary<Capabilities> = fc
  .record({ memoryMb: amount, gpuMb: amount, providers: fc.option(providers, { nil: undefined }) })
  .map(({ gpuMb, ...rest }) => ({
    ...rest,
    gpus: gpuMb === undefined ? undefined : [{ name: 'GPU', memoryMb: gpuMb }]
  }))

test('[MODEL-3] every node chooses the same variant for the same question, in whatever order the variants stand', () => {
  const questions = anyVariants.chain((variants) =>
    fc.tuple(fc.constant(variants), fc.shuffledSubarray(variants, { minLength: variants.length }), anyCapabilities)
  )
  fc.assert(
    fc.property(questions, ([one, two, capabilities]) => {
      const [first, second] = [one, two].map((variants) =>
        selectVariant({
          release: { model: parseModelId('m'), version: parseVersion('1.0.0'), variants, metadata: {} },
          capabilities,
          selector: { preferredPrecision: 'int8' }
        })
      )
      expect(second?.variant?.id).toBe(first?.variant?.id)
      expect(first?.rejections.length).toBeLessThanOrEqual(one.length)
      expect(first?.variant === undefined).toBe(first?.rejections.length === one.length)
    }),
    { numRuns: 500 }
  )
})
