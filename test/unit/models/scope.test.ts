import '../../../src/core/polyfill.js'
import { expect, test } from 'vitest'
import { check } from '../../../src/core/codec.js'
import { caught } from '../core/caught.js'
import { all, capable, exclusion, formation, nodes, scopeSchema } from '../../../src/models/scope.js'
import { memberOf, nodeIdOf } from '../../support/rollouts.js'

const member = memberOf(1, {
  formations: ['north'],
  labels: { shelf: '4' },
  capabilities: { cpuArch: 'aarch64', gpus: [{ name: 'GPU', memoryMb: 4096 }], storageMb: 1000 }
})

test('[MODEL-1] each kind of scope takes exactly the members that it names, and says why another is not in it', () => {
  expect(exclusion(all(), member)).toBeUndefined()
  expect(exclusion(formation('north'), member)).toBeUndefined()
  expect(exclusion(formation('south'), member)).toBe('not in formation south')
  expect(exclusion(nodes([nodeIdOf(1), nodeIdOf(2)]), member)).toBeUndefined()
  expect(exclusion(nodes([nodeIdOf(2)]), member)).toBe('not named')
  expect(exclusion(nodes([]), member)).toBe('not named')
})

test('[MODEL-1] a capable scope takes members that meet every demand', () => {
  expect(exclusion(capable({}), member)).toBeUndefined()
  const fits = { minGpuGb: 4, cpuArch: 'aarch64', minStorageMb: 1000, labels: { shelf: '4' } }
  expect(exclusion(capable(fits), member)).toBeUndefined()
  expect(exclusion(capable({ ...fits, minGpuGb: 4.5 }), member)).toBe('GPU memory 4096 MiB, asked for 4608 MiB')
  expect(exclusion(capable({ ...fits, minStorageMb: 1001 }), member)).toBe('free storage 1000 MiB, asked for 1001 MiB')
  expect(exclusion(capable({ ...fits, cpuArch: 'x86_64' }), member)).toBe('CPU architecture aarch64, asked for x86_64')
  expect(exclusion(capable({ ...fits, labels: { shelf: '5' } }), member)).toBe('label shelf is not 5')
  expect(exclusion(capable({ ...fits, labels: { constructor: 'x' } }), member)).toBe('label constructor is not x')
})

test('[MODEL-2] a demand on what a member does not know of itself is not met; a demand of nothing is', () => {
  const unknown = memberOf(1)
  expect(exclusion(capable({ minGpuGb: 1 }), unknown)).toBe('GPU memory unknown, asked for 1024 MiB')
  expect(exclusion(capable({ minStorageMb: 1 }), unknown)).toBe('free storage unknown, asked for 1 MiB')
  expect(exclusion(capable({ cpuArch: 'x86_64' }), unknown)).toBe('CPU architecture unknown, asked for x86_64')
  expect(exclusion(capable({ minGpuGb: 0, minStorageMb: 0 }), unknown)).toBeUndefined()
  expect(exclusion(capable({ minGpuGb: 1 }), memberOf(1, { capabilities: { gpus: [] } }))).toBe(
    'GPU memory 0 MiB, asked for 1024 MiB'
  )
})

test.each([
  { kind: 'everyone' },
  { kind: 'nodes', nodes: ['12D3'] },
  { kind: 'formation', formation: '' },
  { kind: 'capable', minGpuGb: -1 },
  { kind: 'capable', minGpuGb: Infinity },
  { kind: 'capable', minGpuGb: '4' },
  null
])('[MODEL-1] %j is no scope', (scope) => {
  expect(caught(() => check(scope, scopeSchema, 'scope'))?.code).toBe('INVALID_REQUEST')
})
