import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeFrame, FrameDecoder } from '../../../src/net/framing.js'

const max = 1024 * 1024

const wire = (frames: readonly Uint8Array[]): Buffer =>
  Buffer.concat(frames.flatMap((frame) => encodeFrame([frame], max)))

/** Cuts bytes at the given places. */
function chunksOf(bytes: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = []
  let at = 0
  for (let turn = 0; at < bytes.byteLength; turn++) {
    const size = Math.max(1, sizes[turn % sizes.length] ?? 1)
    chunks.push(bytes.subarray(at, at + size))
    at += size
  }
  return chunks
}

function decodeAll(chunks: readonly Uint8Array[], maxFrameBytes = max): Uint8Array[] {
  const decoder = new FrameDecoder(maxFrameBytes)
  const frames = chunks.flatMap((chunk) => [...decoder.push(chunk)])
  expect(decoder.betweenFrames).toBe(true)
  return frames
}

describe('framing', () => {
  test('any frames come out as they went in, however the bytes are cut', () => {
    const frames = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 })
    const cuts = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 10 })
    fc.assert(
      fc.property(frames, cuts, (sent, sizes) => {
        const received = decodeAll(chunksOf(wire(sent), sizes))
        expect(received.map((frame) => [...frame])).toEqual(sent.map((frame) => [...frame]))
      })
    )
  })

  test.each([0, 1, 3, 4, 5, 65_535, 65_536, max])('a frame of %d bytes, in pieces of 64 KiB', (size) => {
    const frame = Buffer.alloc(size, 7)
    const [received] = decodeAll(chunksOf(wire([frame]), [65_536]))
    expect(received === undefined ? -1 : Buffer.compare(received, frame)).toBe(0)
  })

  test('a frame that lies inside one chunk is a view of it', () => {
    const chunk = wire([Buffer.from('one'), Buffer.from('two')])
    for (const frame of decodeAll([chunk])) expect(frame.buffer).toBe(chunk.buffer)
  })

  test('parts are joined to one frame; a large one is not copied', () => {
    const large = Buffer.alloc(100_000, 1)
    const pieces = encodeFrame([Buffer.from('head'), Buffer.from('er'), large, Buffer.from('tail')], max)
    expect(pieces).toHaveLength(3)
    expect(pieces[1]).toBe(large)
    const [frame] = decodeAll([Buffer.concat(pieces)])
    expect(frame?.byteLength).toBe(4 + 2 + 100_000 + 4)
  })

  test('a frame of the largest size passes, one byte more is refused at the header, before anything is allocated', () => {
    expect(decodeAll([wire([Buffer.alloc(10)])], 10)).toHaveLength(1)
    const decoder = new FrameDecoder(10)
    const header = Buffer.from([0, 0, 0, 11])
    expect(() => [...decoder.push(header)]).toThrow(expect.objectContaining({ code: 'FRAME_TOO_LARGE' }))
  })

  test('an announcement of 4 GiB allocates nothing', () => {
    const before = process.memoryUsage().arrayBuffers
    const decoders = Array.from({ length: 100 }, () => new FrameDecoder(2 ** 32))
    for (const decoder of decoders) expect([...decoder.push(Buffer.from([255, 255, 255, 255, 1]))]).toEqual([])
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20 * 1024 * 1024)
  })

  test('sending more than the limit is refused too', () => {
    expect(() => encodeFrame([Buffer.alloc(11)], 10)).toThrow(expect.objectContaining({ code: 'FRAME_TOO_LARGE' }))
  })

  test('an end inside a frame is told from an end between frames', () => {
    const decoder = new FrameDecoder(max)
    for (const byte of [0, 0, 0, 2, 9]) {
      expect([...decoder.push(Uint8Array.of(byte))]).toEqual([])
      expect(decoder.betweenFrames).toBe(false)
    }
    expect([...decoder.push(Uint8Array.of(9))]).toHaveLength(1)
    expect(decoder.betweenFrames).toBe(true)
  })

  test('decoding 32 MiB in pieces of 64 KiB copies each byte about twice, not once a piece', () => {
    const size = 32 * 1024 * 1024
    const decoder = new FrameDecoder(size)
    const chunks = chunksOf(wireOf(size), [65_536])
    const started = process.cpuUsage()
    const frames = chunks.flatMap((chunk) => [...decoder.push(chunk)])
    const { user, system } = process.cpuUsage(started)
    expect(frames[0]?.byteLength).toBe(size)
    // Quadratic copying would move 8 GiB: seconds. Twice 32 MiB is some 20 ms.
    expect((user + system) / 1000).toBeLessThan(1000)
  })
})

function wireOf(size: number): Buffer {
  const bytes = Buffer.alloc(4 + size, 5)
  bytes.writeUInt32BE(size)
  return bytes
}
