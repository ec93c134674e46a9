import { describe, expect, test } from 'vitest'
import type { NodeId } from '../../../src/core/ids.js'
import { Bitfield } from '../../../src/blobs/bitfield.js'
import { ChunkListBuilder, type ChunkList } from '../../../src/blobs/chunk-list.js'
import { digestOf } from '../../../src/blobs/cid.js'
import { Picker, pickerDefaults } from '../../../src/blobs/picker.js'

const kibibyte = 1024
const mebibyte = 1024 * kibibyte
const nodes = ['self', 'source', 'other', 'third'] as unknown as [NodeId, NodeId, NodeId, NodeId]
const [self, source, other, third] = nodes

/** A file of chunks of 256 KiB: four to a piece. */
function fileOf(pieces: number, chunkBytes = 256 * kibibyte): ChunkList {
  const list = new ChunkListBuilder()
  for (let chunk = 0; chunk < pieces * 4; chunk++) list.add(digestOf(Buffer.from(String(chunk))), chunkBytes)
  return list.build()
}

function pickerOf(chunks: ChunkList, node = self): Picker {
  return new Picker(node, chunks, Bitfield.empty(chunks.count))
}

function bits(length: number, ...ones: number[]): Bitfield {
  const field = Bitfield.empty(length)
  for (const one of ones) field.set(one)
  return field
}

test('[P1] the piece that fewest peers hold goes first', () => {
  const chunks = fileOf(4)
  const picker = pickerOf(chunks)
  picker.addPeer(source, Bitfield.full(chunks.count), 0)
  picker.addPeer(other, bits(chunks.count, ...Array.from({ length: 12 }, (_, chunk) => chunk)), 0)
  expect(picker.pick(source, mebibyte, 10_000)).toEqual([12, 13, 14, 15])
})

test('[P2] receivers begin at different places, the same one always at the same', () => {
  const chunks = fileOf(64)
  const first = nodes.map((node) => {
    const picker = pickerOf(chunks, node)
    picker.addPeer(source, Bitfield.full(chunks.count), 0)
    return picker.pick(source, mebibyte, 0)[0]
  })
  expect(new Set(first).size).toBeGreaterThan(2)
  const again = pickerOf(chunks)
  again.addPeer(source, Bitfield.full(chunks.count), 0)
  expect(again.pick(source, mebibyte, 0)[0]).toBe(first[0])
})

describe('[P3] what only the source has belongs to one receiver', () => {
  const chunks = fileOf(64)
  const receivers = [self, other, third]
  const pickers = receivers.map((node) => {
    const picker = pickerOf(chunks, node)
    picker.addPeer(source, Bitfield.full(chunks.count), 0)
    for (const peer of receivers) if (peer !== node) picker.addPeer(peer, Bitfield.empty(chunks.count), 0)
    return picker
  })

  test('three receivers ask the source for different pieces, but for one foreign piece each', () => {
    const asked = pickers.map((picker) => {
      const pieces: number[] = []
      for (let next = picker.pick(source, mebibyte, 1); next.length > 0; next = picker.pick(source, mebibyte, 1)) {
        pieces.push((next[0] ?? 0) / 4)
      }
      return pieces
    })
    const total = asked.flat().length
    expect(new Set(asked.flat()).size).toBeGreaterThanOrEqual(total - receivers.length)
    expect(total).toBeLessThanOrEqual(64 + receivers.length)
    for (const pieces of asked) expect(pieces.length).toBeGreaterThan(10)
  })

  test('a receiver that gets nothing for a while owns nothing', () => {
    const picker = pickerOf(chunks)
    picker.addPeer(source, Bitfield.full(chunks.count), 0)
    picker.addPeer(other, Bitfield.empty(chunks.count), 0)
    let picks = 0
    while (picker.pick(source, mebibyte, pickerDefaults.idleReceiverMs + 1).length > 0) picks++
    expect(picks).toBe(64)
  })
})

describe('[P4] nothing is asked twice', () => {
  const chunks = fileOf(2)

  test('by the same or another peer', () => {
    const picker = pickerOf(chunks)
    picker.addPeer(source, Bitfield.full(chunks.count), 0)
    picker.addPeer(other, Bitfield.full(chunks.count), 0)
    const asked = [source, other, source, other].flatMap((peer) => picker.pick(peer, mebibyte, 0))
    expect(asked.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })

  test('except at the end, when it has been under way for long: then the slower one is cancelled', () => {
    const picker = pickerOf(chunks)
    picker.addPeer(source, Bitfield.full(chunks.count), 0)
    picker.addPeer(other, Bitfield.full(chunks.count), 0)
    while (picker.pick(source, mebibyte, 0).length > 0);
    expect(picker.pick(other, mebibyte, pickerDefaults.endgameAfterMs - 1)).toEqual([])
    const [twice = -1] = picker.pick(other, mebibyte, pickerDefaults.endgameAfterMs)
    expect(twice).toBeGreaterThanOrEqual(0)
    expect(picker.received(other, twice)).toEqual([source])
    expect(picker.received(source, twice)).toBeUndefined()
  })

  test('and what is released, lost with its peer, or refused may be asked of others', () => {
    const picker = pickerOf(chunks)
    picker.addPeer(source, Bitfield.full(chunks.count), 0)
    const asked = picker.pick(source, mebibyte, 0)
    picker.release(source, asked[0] ?? 0)
    picker.lacks(source, asked[1] ?? 0)
    picker.addPeer(other, Bitfield.full(chunks.count), 0)
    picker.removePeer(source)
    const again = [...picker.pick(other, mebibyte, 0), ...picker.pick(other, mebibyte, 0)]
    expect(again.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })
})

test('a request stays within the bytes allowed, 64 chunks and 16 runs', () => {
  const small = fileOf(64, 100)
  const picker = pickerOf(small)
  picker.addPeer(source, Bitfield.full(small.count), 0)
  expect(picker.pick(source, mebibyte, 0).length).toBe(64)
  expect(picker.pick(source, 350, 0).length).toBe(3)
  const scattered = new Picker(self, small, bits(small.count, ...Array.from({ length: 128 }, (_, index) => 2 * index)))
  scattered.addPeer(source, Bitfield.full(small.count), 0)
  const seen = new Set<number>()
  for (let next = scattered.pick(source, mebibyte, 0); next.length > 0; next = scattered.pick(source, mebibyte, 0)) {
    expect(next.length).toBeLessThanOrEqual(16)
    for (const chunk of next) seen.add(chunk)
  }
  expect(seen.size).toBe(128)
})

test('chunks that are here, or that the peer does not have, are not asked', () => {
  const chunks = fileOf(1)
  const picker = new Picker(self, chunks, bits(chunks.count, 0))
  picker.addPeer(source, bits(chunks.count, 0, 1), 0)
  expect(picker.pick(source, mebibyte, 0)).toEqual([1])
  expect(picker.unavailable()).toBe(2)
  picker.have(source, 2, 2, 0)
  expect(picker.pick(source, mebibyte, 0)).toEqual([2, 3])
  expect(picker.unavailable()).toBeUndefined()
})

test('whatever happens, every chunk comes in once and the counts agree', () => {
  const chunks = fileOf(32)
  const picker = pickerOf(chunks)
  const peers = [source, other, third]
  let seed = 7
  const chance = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return (seed >>> 8) % below
  }
  const underWay: [NodeId, number][] = []
  for (let step = 0; picker.missingChunks > 0 && step < 100_000; step++) {
    const peer = peers[chance(3)] ?? source
    const what = chance(20)
    if (what === 0) picker.removePeer(peer)
    else if (what < 3) picker.addPeer(peer, bits(chunks.count, ...Array.from({ length: 60 }, () => chance(128))), step)
    else if (what === 3) picker.have(peer, chance(120), 8, step)
    else if (what < 12) for (const chunk of picker.pick(peer, mebibyte, step)) underWay.push([peer, chunk])
    else {
      const [from, chunk] = underWay.splice(chance(underWay.length || 1), 1)[0] ?? []
      if (from === undefined || chunk === undefined) continue
      if (chance(4) === 0) picker.release(from, chunk)
      else picker.received(from, chunk)
    }
  }
  expect(picker.missingChunks).toBe(0)
  for (const peer of peers) {
    picker.addPeer(peer, Bitfield.full(chunks.count), 0)
    expect(picker.pick(peer, mebibyte, 1e9)).toEqual([])
  }
})
