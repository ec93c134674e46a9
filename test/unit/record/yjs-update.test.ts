import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { equalBytes } from '../../../src/core/codec.js'
import { errorCode } from '../../../src/core/errors.js'
import { parseUpdate, rootName, writeUpdate, type Chain } from '../../../src/record/yjs-update.js'
import { caught } from '../core/caught.js'
import { keyPairOf, storeWith, updateOf } from './fixtures.js'

const key = (name: string): string => name.padEnd(52, 'x')

/** What stock Yjs makes of a client that overwrites its key. */
function stockUpdate(client: number, values: readonly Uint8Array[], name = key('w')): Uint8Array {
  const doc = new Y.Doc({ gc: true })
  doc.clientID = client
  for (const value of values) doc.getMap(rootName).set(name, value)
  return Y.encodeStateAsUpdate(doc)
}

function varuint(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80)
  return [...bytes, rest]
}

test.each([1, 2, 3, 50])('what stock Yjs writes after %i values is read as one chain', (count) => {
  const values = Array.from({ length: count }, (_, at) => Uint8Array.of(at, at, at))
  const chains = parseUpdate(stockUpdate(2 ** 53 - 1, values))
  expect(chains).toEqual([
    {
      client: 2 ** 53 - 1,
      start: 0,
      seq: count - 1,
      value: Uint8Array.of(count - 1, count - 1, count - 1),
      key: key('w')
    }
  ])
})

test('what stock Yjs writes since a state vector is read too', () => {
  const doc = new Y.Doc()
  doc.clientID = 77
  doc.getMap(rootName).set(key('w'), Uint8Array.of(1))
  const vector = Y.encodeStateVector(doc)
  doc.getMap(rootName).set(key('w'), Uint8Array.of(2))
  doc.getMap(rootName).set(key('w'), Uint8Array.of(3))
  expect(parseUpdate(Y.encodeStateAsUpdate(doc, vector))).toEqual([
    { client: 77, start: 1, seq: 2, value: Uint8Array.of(3), key: undefined }
  ])
})

const chainArbitrary = fc
  .record({
    client: fc.integer({ min: 1, max: 2 ** 53 - 1 }),
    seq: fc.integer({ min: 0, max: 2 ** 40 }),
    size: fc.nat(500)
  })
  .map(({ client, seq, size }): Chain => {
    return { client, start: 0, seq, value: new Uint8Array(size).fill(size), key: key(`k${client}`.slice(0, 20)) }
  })
const chainsArbitrary = fc.uniqueArray(chainArbitrary, { selector: ({ client }) => client, minLength: 1, maxLength: 8 })

test('[REC-3] what is written is read back, and stock Yjs holds exactly that', () => {
  fc.assert(
    fc.property(chainsArbitrary, (chains) => {
      const update = writeUpdate(chains)
      expect(parseUpdate(update)).toEqual(chains)
      const doc = new Y.Doc()
      Y.applyUpdate(doc, update)
      expect(doc.store.pendingStructs).toBeNull()
      expect(Object.fromEntries(doc.getMap(rootName))).toEqual(
        Object.fromEntries(chains.map(({ key: name = '', value }) => [name, value]))
      )
      const again = parseUpdate(Y.encodeStateAsUpdate(doc))
      expect(new Set(again)).toEqual(new Set(chains))
    }),
    { numRuns: 200 }
  )
})

test('a later part of a chain joins what stock Yjs has', () => {
  const doc = new Y.Doc()
  Y.applyUpdate(doc, stockUpdate(5, [Uint8Array.of(0), Uint8Array.of(1)]))
  Y.applyUpdate(doc, writeUpdate([{ client: 5, start: 2, seq: 9, value: Uint8Array.of(9), key: undefined }]))
  expect(doc.store.pendingStructs).toBeNull()
  expect(doc.getMap(rootName).get(key('w'))).toEqual(Uint8Array.of(9))
})

/** Struct by struct, so that each rule can be broken alone: one client 5, one first value. */
const root = [1, rootName.length, ...Buffer.from(rootName)]
const name = [1, 0x77]
const value = [1, 9]
const first = [0x20 | 3, ...root, ...name, ...value]
const block = (structs: readonly number[][], start = 0): number[] => [
  1,
  structs.length,
  5,
  ...varuint(start),
  ...structs.flat(),
  0
]

test('the smallest update is as it should be', () => {
  expect(parseUpdate(Uint8Array.from(block([first])))).toHaveLength(1)
  expect(parseUpdate(Uint8Array.of(0, 0))).toEqual([])
})

test.each<[string, number[]]>([
  ['nothing', []],
  ['a client without values', [1, 0, 5, 0, 0, 0, 0, 0]],
  ['a first value without a map key', block([[0x03, ...root, ...value]])],
  ['a first value with an origin', block([[0xa3, 5, 0, ...value, 0, 0]])],
  ['a foreign root', block([[0x23, 1, 1, 0x78, ...name, ...value]])],
  ['a parent that is an item', block([[0x23, 0, 5, 0, ...name, ...value]])],
  ['a name of 65 bytes', block([[0x23, ...root, 65, ...Array.from({ length: 65 }, () => 0x77), ...value]])],
  ['a first value with a right origin', block([[0x40 | 0x23, ...root, ...name, ...value]])],
  ['a later value with a right origin', block([first, [0x40 | 0xa3, 5, 0, ...value]])],
  ['a second value without an origin', block([first, first])],
  ['an origin of another client', block([first, [0xa3, 6, 0, ...value]])],
  ['an origin that is not the value before', block([first, [0xa3, 5, 1, ...value]])],
  ['a chain that ends in a deleted value', block([first, [0xa1, 5, 0, 1]])],
  ['only a deleted value', block([[0x21, ...root, ...name, 1]])],
  ['an empty deletion', block([first, [0xa1, 5, 0, 0], [0xa3, 5, 0, ...value]])],
  ['text', block([[0x24, ...root, ...name, 1, 0x61]])],
  ['a sub-document', block([[0x29, ...root, ...name, ...value]])],
  ['garbage collected', block([[0x00, 5]])],
  ['a skip', block([[0x0a, 5]])],
  ['a value that is longer than the update', block([[0x23, ...root, ...name, 100, 1]])],
  ['trailing bytes', [...block([first]), 0]],
  ['no delete set', block([first]).slice(0, -1)],
  ['a delete set above its size', [...block([first]).slice(0, -1), 100, 5, 1, 0, 1]],
  ['a number above 2^53', [1, 1, ...Array.from({ length: 9 }, () => 0xff), 0]],
  ['a clock of 2^53 - 1', block([[0xa3, 5, ...varuint(2 ** 53 - 2), ...value]], 2 ** 53 - 1)],
  [
    'a deletion up to 2^53',
    block([
      [0x21, ...root, ...name, ...varuint(2 ** 53 - 1)],
      [0xa3, 5, 0, ...value]
    ])
  ]
])('[REC-4] %s is MALFORMED', (_, bytes) => {
  expect(caught(() => parseUpdate(Uint8Array.from(bytes)))?.code).toBe('MALFORMED')
})

test('[REC-4] encoding version 2 is MALFORMED', () => {
  const doc = new Y.Doc()
  doc.getMap(rootName).set(key('w'), Uint8Array.of(1))
  expect(caught(() => parseUpdate(Y.encodeStateAsUpdateV2(doc)))?.code).toBe('MALFORMED')
})

test.each([
  ['clients', [...varuint(2 ** 40)]],
  ['values of a client', [1, ...varuint(2 ** 40)]],
  ['clients of the delete set', [0, ...varuint(2 ** 40)]],
  ['ranges of the delete set', [0, 1, 5, ...varuint(2 ** 40)]],
  ['bytes of a value', [1, 1, 5, 0, 0x23, ...root, ...name, ...varuint(2 ** 40)]]
])('[REC-4] a count of %s that no update can hold is refused before anything is allocated', (_, head) => {
  const bytes = Uint8Array.from([...head, ...Array.from({ length: 64 }, () => 0)])
  const before = process.memoryUsage().heapUsed
  const error = caught(() => parseUpdate(bytes))
  expect(error?.message).toMatch(/above its size/)
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(5e6)
})

test('[REC-4] each byte changed to anything throws nothing but MurmurateError, and enters no page', async () => {
  const pair = await keyPairOf(0)
  const update = updateOf(pair, { seq: 3 })
  const { page, store } = storeWith([update])
  const before = page.digest()
  for (let at = 0; at < update.length; at++) {
    for (const mask of [1, 2, 4, 8, 16, 32, 64, 128, 255]) {
      const changed = Uint8Array.from(update, (byte, position) => (position === at ? byte ^ mask : byte))
      expect(['fine', 'MALFORMED']).toContain(parsed(changed))
      store.ingest([{ page: page.id, update: changed }])
      // Some bits say the same in two ways; then it is the very entry that was signed.
      const fresh = storeWith([changed]).page
      const entered = [...fresh.stored()].length
      expect(entered === 0 || equalBytes(fresh.digest(), before), `byte ${at}, mask ${mask}`).toBe(true)
    }
  }
  expect(page.digest()).toEqual(before)
})

test('[REC-4] random bytes throw nothing but MurmurateError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => ['fine', 'MALFORMED'].includes(parsed(bytes))),
    { numRuns: 2000 }
  )
})

function parsed(bytes: Uint8Array): string {
  try {
    parseUpdate(bytes)
    return 'fine'
  } catch (error) {
    return errorCode(error) ?? `another error: ${String(error)}`
  }
}
