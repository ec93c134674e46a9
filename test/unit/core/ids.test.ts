import { expect, test } from 'vitest'
import {
  parseCid,
  parseModelId,
  parseNodeId,
  parsePageId,
  parseRolloutId,
  parseVariantId,
  parseVersion,
  rolloutIdFrom,
  shortId
} from '../../../src/core/ids.js'
import { caught } from './caught.js'

const nodeId = '12D3KooWBhV9dp6FDvRbzUv5WTTeVUZ3pdkmYxeuMjSLTPHjZ6Vq'
const cid = `b${'a'.repeat(58)}`

const parsers: readonly [name: string, parse: (value: unknown) => string, good: readonly string[]][] = [
  ['node id', parseNodeId, [nodeId]],
  [
    'model id',
    parseModelId,
    ['target_recognition', 'a', '0', 'llama-3.1-8b', 'a'.repeat(64), 'a_', 'a-', 'com', 'console']
  ],
  ['variant id', parseVariantId, ['fp16-cuda', 'q4_k_m']],
  ['version', parseVersion, ['4.2.1', '2.0.0-rc.1', '1.0.0+build.5', '0.0.0', '1.0.0-RC.1']],
  ['rollout id', parseRolloutId, ['6f9619ff-8b86-4d01-b42d-00cf4fc964ff']],
  ['page id', parsePageId, ['node/17', 'status/target_recognition/17', 'release/a/1.0.0+b.1', 'a/b/c/d']],
  ['cid', parseCid, [cid]]
]

/** What no id of any kind may be: each would be dangerous as a file name, in a shell, or to compare. */
const bad: readonly (readonly [name: string, value: unknown])[] = [
  ['nothing', ''],
  ['not text', 7],
  ['undefined', undefined],
  ['an array that prints well', ['a']],
  ['a step up', '..'],
  ['a step up inside', 'status/../../etc/passwd'],
  ['a step up behind a name', 'a/../b'],
  ['the same directory', '.'],
  ['an absolute path', '/etc/passwd'],
  ['a backslash', 'a\\b'],
  ['a NUL', 'a\0b'],
  ['a NUL at the end', '1.0.0\0'],
  ['a line break at the end', '1.0.0\n'],
  ['white space before', ' 1.0.0'],
  ['white space behind', '1.0.0+a '],
  ['a no-break space behind', '1.0.0+a\u00a0'],
  ['a percent escape', '%2e%2e'],
  ['a drive', 'c:a'],
  ['a look-alike letter', 'tаrget'],
  ['a combining mark', 'e\u0301'],
  ['a full-width dot', '．．'],
  ['an emoji', '🦆'],
  ['half a surrogate pair', '\ud800'],
  ['the turned direction of writing', 'a\u202eb'],
  ['too long', 'a'.repeat(1000)],
  ['much too long', `1.0.0-${'a'.repeat(100_000)}`],
  ['a prototype', '__proto__']
]

test.each(parsers)('a %s of the right form is handed back as it is', (_, parse, good) => {
  for (const value of good) expect(parse(value)).toBe(value)
})

test.each(parsers)('[ID-1] a %s of any dangerous form is refused', (_, parse) => {
  for (const [name, value] of bad) expect(caught(() => parse(value))?.code, name).toBe('INVALID_REQUEST')
})

test.each([
  ['capitals', 'Target'],
  ['a leading dot', '.git'],
  ['a leading dash', '-rf'],
  ['a trailing dot', 'a.'],
  ['two dots', 'a..b'],
  ['65 characters', 'a'.repeat(65)],
  ['a slash', 'a/b'],
  ['con', 'con'],
  ['a device with an extension', 'nul.bin'],
  ['a numbered device', 'com1'],
  ['a printer', 'lpt9.txt']
])('[ID-1] a model id that is %s is refused', (_, value) => {
  expect(caught(() => parseModelId(value))?.code).toBe('INVALID_REQUEST')
})

test.each(['v1.0.0', '1.0', '1', '01.0.0', '1.0.0-', '1.0.0-01', '=1.0.0', '1.0.0 - 2.0.0', `1.0.0-${'a'.repeat(59)}`])(
  'the version %s is refused',
  (value) => {
    expect(caught(() => parseVersion(value))?.code).toBe('INVALID_REQUEST')
  }
)

test.each([
  'node',
  'node/',
  '/node',
  'node//1',
  'Node/1',
  'a/b/c/d/e',
  'node/..',
  'node/.',
  'node/a b',
  `${'a'.repeat(33)}/b`
])('the page id %s is refused', (value) => {
  expect(caught(() => parsePageId(value))?.code).toBe('INVALID_REQUEST')
})

test('the refusal shows the value, escaped and cut', () => {
  const error = caught(() => parseModelId(`\u001b[31m${'x'.repeat(500)}`))
  expect(error?.message).toContain('\\u001b')
  expect(error?.message.length).toBeLessThan(260)
})

test('a rollout id made of any 16 bytes is a version 4 UUID', () => {
  for (const byte of [0, 0x55, 0xff]) {
    const id = rolloutIdFrom(new Uint8Array(16).fill(byte))
    expect(parseRolloutId(id)).toBe(id)
  }
})

test('the short id leaves out what all node ids have in common', () => {
  expect(shortId(parseNodeId(nodeId))).toBe('BhV9dp6F')
})
