import fc from 'fast-check'
import { expect, test } from 'vitest'
import { errorCode } from '../../../src/core/errors.js'
import { parsePageId } from '../../../src/core/ids.js'
import { decodeSync, encodeSync, type SyncMessage } from '../../../src/record/sync-messages.js'
import { maxMessageBytes } from '../../../src/record/wire.js'
import { HostilePeer, openingMessage } from './hostile.js'
import { agree, deaf, started, virtualMesh, write } from './mesh.js'

const page = fc.integer({ min: 0, max: 5 }).map((number) => parsePageId(`note/${number}`))
const bytes = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length })
const client = fc.nat(Number.MAX_SAFE_INTEGER)
const last = fc.boolean()
const list = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(item, { maxLength: 4 })
const slices = fc
  .integer({ min: 0, max: 5 })
  .chain((bits) => fc.record({ page, bits: fc.constant(bits), digests: bytes(4 * 2 ** bits) }))
const vectors = fc.record({
  page,
  bits: fc.integer({ min: 0, max: 14 }),
  slices: list(fc.nat(100)),
  rows: list(fc.record({ client, clock: client, tag: bytes(8) }))
})
const wants = fc.record({ page, rows: fc.option(list(fc.record({ client, clock: client })), { nil: undefined }) })
const message: fc.Arbitrary<SyncMessage> = fc.oneof(
  fc.record({ type: fc.constant('open' as const), salt: bytes(8), digest: bytes(16) }),
  fc.constant({ type: 'equal' as const }),
  fc.record({ type: fc.constant('pages' as const), items: list(fc.tuple(page, bytes(8))), last }),
  fc.record({ type: fc.constant('slices' as const), items: list(slices), last }),
  fc.record({ type: fc.constant('vectors' as const), items: list(vectors), last }),
  fc.record({ type: fc.constant('updates' as const), items: list(fc.record({ page, update: fc.uint8Array() })) }),
  fc.record({ type: fc.constant('wants' as const), items: list(wants), last }),
  fc.record({ type: fc.constant('done' as const), more: fc.boolean() })
)
/** A message with some bytes overwritten, cut off or added. */
const mutated = fc
  .tuple(
    message,
    fc.array(fc.tuple(fc.nat(500), fc.nat(255)), { maxLength: 5 }),
    fc.nat(20),
    fc.uint8Array({ maxLength: 5 })
  )
  .map(([original, changes, cut, added]) => {
    const encoded = encodeSync(original)
    for (const [at, value] of changes) encoded[at % encoded.byteLength] = value
    return new Uint8Array(
      Buffer.concat([encoded.subarray(0, Math.max(0, encoded.byteLength - (cut > 10 ? cut - 10 : 0))), added])
    )
  })

test('[REC-54] every message comes out as it went in', () => {
  fc.assert(
    fc.property(message, (original) => {
      expect(decodeSync(encodeSync(original))).toEqual(original)
    })
  )
})

test('[REC-54] any bytes are a message or `MALFORMED`', () => {
  const any = fc.oneof(fc.uint8Array({ maxLength: 300 }), mutated)
  fc.assert(
    fc.property(any, (data) => {
      try {
        decodeSync(data)
      } catch (error) {
        expect(errorCode(error)).toBe('MALFORMED')
      }
    }),
    { numRuns: 2000 }
  )
  expect(() => decodeSync(new Uint8Array(maxMessageBytes + 1))).toThrow('limit')
})

test('[REC-54] no sequence of messages, whole or mutated, changes a document or keeps an honest round from its end', async () => {
  const frames = fc.array(fc.oneof(message.map(encodeSync), mutated), { minLength: 1, maxLength: 6 })
  await fc.assert(
    fc.asyncProperty(frames, fc.boolean(), fc.nat(3), async (sequence, answers, silent) => {
      const mesh = virtualMesh(1, deaf)
      const { clock } = mesh.environment
      const [one, two] = await started(mesh, 2)
      const bad = await HostilePeer.join(mesh)
      await clock.run(write(one, 'one'))
      const before = one.document.digest()
      if (answers) bad.answer(() => sequence)
      else for (let time = silent; time < 4; time++) await bad.begin(one, [openingMessage, ...sequence]).catch(() => {})
      // The other honest node is one of two peers: not drawn in 40 rounds once in 2^40 runs.
      await clock.advance(300_000)
      expect(one.document.digest()).toBe(before)
      expect(agree([one, two])).toBe(true)
    }),
    { numRuns: 60 }
  )
})
