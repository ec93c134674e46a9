import { expect, test } from 'vitest'
import { encode } from '../../../src/core/codec.js'
import { errorCode } from '../../../src/core/errors.js'
import { OwnIncarnation } from '../../../src/fleet/incarnation.js'
import {
  decodeMessage,
  encodeMessage,
  makeAccusation,
  makeStatement,
  maxMessageBytes
} from '../../../src/fleet/presence-message.js'
import {
  decodeFrame,
  encodeFrame,
  maxNews,
  maxWatchFrameBytes,
  type WatchFrame
} from '../../../src/fleet/watch-frame.js'
import { SignatureVerifier } from '../../../src/identity/signature.js'
import { caught } from '../core/caught.js'
import { keyPairOf } from '../record/fixtures.js'

const [one, two] = await Promise.all([keyPairOf(1), keyPairOf(2)])
const verifier = new SignatureVerifier()
const largest = { epoch: 2 ** 52, seq: 2 ** 52 }
const words = makeStatement(one, 'alive', largest)
const accusation = makeAccusation(two, words, true)
const codeOf = (bytes: Uint8Array): string | undefined => errorCode(caught(() => decodeMessage(bytes, verifier)))

test('[FLEET-30] messages come out as they went in, within their bound', () => {
  for (const message of [words, makeStatement(one, 'left', { epoch: 0, seq: 7 }), accusation]) {
    const bytes = encodeMessage(message)
    expect(bytes.byteLength).toBeLessThanOrEqual(maxMessageBytes)
    expect(decodeMessage(bytes, verifier)).toEqual(message)
  }
})

test('[FLEET-30] any turned bit of a message is refused', () => {
  for (const bytes of [encodeMessage(words), encodeMessage(accusation)]) {
    for (let bit = 0; bit < bytes.byteLength * 8; bit += 3) {
      const turned = bytes.slice()
      turned[bit >> 3] = (turned[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect(['MALFORMED', 'INVALID_REQUEST']).toContain(codeOf(turned))
    }
  }
})

test('[FLEET-30] nobody accuses itself, who has left, or with the words of somebody else', () => {
  const left = makeStatement(one, 'left', largest)
  const forged = { ...words, epoch: 5 }
  for (const message of [
    makeAccusation(one, words, true),
    makeAccusation(two, left, false),
    makeAccusation(two, forged, false)
  ])
    expect(codeOf(encodeMessage(message))).toBe('MALFORMED')
  expect(codeOf(encodeMessage({ ...words, nodeId: two.nodeId }))).toBe('MALFORMED')
  expect(codeOf(encode([0, one.nodeId, 2 ** 53 - 1, 0, new Uint8Array(64)]))).toBe('MALFORMED')
  expect(codeOf(new Uint8Array(maxMessageBytes + 1))).toBe('MALFORMED')
})

test('[FLEET-30] frames come out as they went in, within their bound; others are refused', () => {
  const digest = new Uint8Array(8).fill(7)
  const frames: WatchFrame[] = [
    { type: 'ping', nonce: 1, digest, chosen: true, silentMs: 12 },
    { type: 'pong', nonce: 2, digest, chosen: false },
    { type: 'ask', id: 3, target: one.nodeId },
    { type: 'answer', id: 4, silentMs: undefined },
    { type: 'answer', id: 5, silentMs: 6 },
    { type: 'news', messages: Array.from({ length: maxNews }, () => new Uint8Array(maxMessageBytes)) },
    { type: 'summary', digests: new Uint8Array(512) }
  ]
  for (const frame of frames) {
    const bytes = encodeFrame(frame)
    expect(bytes.byteLength).toBeLessThanOrEqual(maxWatchFrameBytes)
    expect(decodeFrame(bytes)).toEqual(frame)
  }
  for (const wrong of [
    [1, 2, digest, true],
    [1, -1, digest, true, 0],
    [2, 1, new Uint8Array(9), true],
    [5, ['text']],
    [7],
    'ping'
  ])
    expect(errorCode(caught(() => decodeFrame(encode(wrong))))).toBe('MALFORMED')
})

test('[FLEET-25] a node goes above whatever is held of it, whatever its clock says', () => {
  const own = new OwnIncarnation(one, 1_000)
  const before = makeStatement(one, 'left', { epoch: 9_000, seq: 3 })
  expect(own.isOvertakenBy(before)).toBe(true)
  own.overtake(before)
  expect(own.statement).toMatchObject({ type: 'alive', epoch: 9_001, seq: 0 })
  expect(own.isOvertakenBy(own.statement)).toBe(false)
  own.refute()
  expect(own.statement).toMatchObject({ type: 'alive', epoch: 9_001, seq: 1 })
  own.restart(2_000)
  expect(own.statement).toMatchObject({ epoch: 9_002, seq: 0 })
})
