import { afterEach, beforeEach, expect, test } from 'vitest'
import type { NodeId } from '../../../src/core/ids.js'
import { TransferMeter } from '../../../src/blobs/transfer-meter.js'
import { Topology } from '../../../src/fleet/topology.js'
import { seededBytes } from '../../support/safetensors.js'
import { Swarm } from './swarm.js'

let swarm: Swarm

beforeEach(async () => {
  swarm = await Swarm.create([1, 2])
})

afterEach(() => swarm.dispose())

test('[FLEET-67] a fetch tells how fast its bytes came from each peer, and links show it', async () => {
  const topology = new Topology()
  const told: { readonly peer: NodeId; readonly bytes: number; readonly ms: number }[] = []
  const [source, idle] = [await swarm.add(), await swarm.add()]
  const taker = await swarm.add({
    onTransfer: (peer, bytes, ms) => {
      told.push({ peer, bytes, ms })
      topology.observe(peer, bytes, ms)
    }
  })
  const content = seededBytes('rates', 12 * 1024 * 1024)
  const manifest = await swarm.publish(source, content)
  await taker.blobs.fetch(manifest)
  expect(told.every(({ peer, ms }) => peer === source.nodeId && ms >= 0)).toBe(true)
  expect(told.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(content.byteLength)
  expect(topology.links()).toEqual([
    { peer: source.nodeId, roundTripMs: undefined, bytesPerSecond: expect.any(Number) }
  ])
  expect(topology.links().some(({ peer }) => peer === idle.nodeId)).toBe(false)
})

test('[FLEET-67] a rate is that of the time in which something was owed; what takes less than 50 ms is told together', () => {
  const told: (readonly [bytes: number, ms: number])[] = []
  const meter = new TransferMeter((bytes, ms) => told.push([bytes, ms]))
  meter.begin(1000)
  meter.took(100)
  meter.answered(1010, false)
  meter.took(200)
  meter.answered(1060, false)
  meter.answered(1200, false)
  meter.took(50)
  meter.answered(1210, true)
  // Idle for a second.
  meter.begin(2210)
  meter.took(10)
  meter.answered(2220, true)
  expect(told).toEqual([
    [300, 60],
    [50, 150],
    [10, 10]
  ])
})
