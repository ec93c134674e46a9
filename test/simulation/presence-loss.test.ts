import { expect, inject, test } from 'vitest'
import { WatchFleet } from '../support/watch-fleet.js'

const seeds = Array.from({ length: inject('seeds') }, (_, index) => index + 1)

test.each(seeds)(
  '[FLEET-20] 25 % loss for two minutes: at most one live member ever failed, at 3 kB/s, seed %i',
  async (seed) => {
    const fleet = await WatchFleet.started(seed, 20, { gossipLoss: 0.25, channelLoss: 0.25 })
    const sinceMs = fleet.clock.monotonic()
    const before = fleet.meanTrafficBytes()
    await fleet.clock.advance(120_000)
    expect(fleet.everFailed(sinceMs).size).toBeLessThanOrEqual(1)
    expect((fleet.meanTrafficBytes() - before) / 120).toBeLessThanOrEqual(3_000)
    await fleet.stop()
  }
)
