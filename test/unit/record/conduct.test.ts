import { beforeAll, beforeEach, expect, test, vi } from 'vitest'
import type { NodeId } from '../../../src/core/ids.js'
import { nodeIdOf } from '../../../src/identity/node-id.js'
import type { PeerEvent } from '../../../src/net/network.js'
import { Conduct } from '../../../src/record/conduct.js'
import { VirtualClock } from '../../support/virtual-clock.js'
import { keyPairOf, listeningLogger } from './fixtures.js'

let clock: VirtualClock
let conduct: Conduct
let peer: NodeId
let connected: (event: PeerEvent) => void
const logger = listeningLogger()
const hangUp = vi.fn(() => Promise.resolve())

beforeAll(async () => {
  peer = (await keyPairOf(1)).nodeId
})

beforeEach(() => {
  clock = new VirtualClock()
  hangUp.mockClear()
  logger.lines.length = 0
  const onPeer = (listener: typeof connected): (() => void) => {
    connected = listener
    return () => {}
  }
  conduct = new Conduct({ network: { hangUp, onPeer }, clock, logger })
  conduct.start()
})

test('[REC-53] ten faults within minutes are too many, the log names peer and reason', () => {
  for (let count = 0; count < 9; count++) conduct.fault(peer, 'refused', `forged ${count}`)
  expect([hangUp.mock.calls.length, conduct.isHeld(peer)]).toEqual([0, false])
  conduct.fault(peer, 'refused', 'forged again')
  expect([hangUp.mock.calls, conduct.isHeld(peer)]).toEqual([[[peer]], true])
  expect(logger.lines).toEqual([expect.stringMatching(new RegExp(`${peer}.*60 s.*forged again`))])
  expect(conduct.report()).toEqual([
    expect.objectContaining({
      peer,
      hangUps: 1,
      lastFault: 'forged again',
      counts: expect.objectContaining({ refused: 10 })
    })
  ])
})

test('[REC-53] faults fade: one in ten minutes is never too many', async () => {
  for (let count = 0; count < 100; count++) {
    conduct.fault(peer, 'malformed', 'a frame')
    await clock.advance(600_000)
  }
  expect(hangUp).not.toHaveBeenCalled()
  expect(conduct.report()[0]?.score).toBeLessThan(6)
})

test('[REC-53] each hold is twice as long as the one before, an hour at most, and is kept when the peer comes back early', async () => {
  const heldSeconds: number[] = []
  for (let time = 0; time < 8; time++) {
    conduct.fault(peer, 'refused', 'forged', 10)
    let seconds = 0
    for (; conduct.isHeld(peer); seconds += 30) {
      hangUp.mockClear()
      connected({ type: 'connected', peer })
      expect(hangUp).toHaveBeenCalledTimes(1)
      await clock.advance(30_000)
    }
    heldSeconds.push(seconds)
  }
  expect(heldSeconds).toEqual([60, 120, 240, 480, 960, 1920, 3600, 3600])
  connected({ type: 'connected', peer })
  expect(hangUp).toHaveBeenCalledTimes(1)
})

test('[REC-56] what another version or fleet root explains is counted and never blamed', () => {
  conduct.remark(peer, 'declined', 100_000)
  conduct.remark(peer, 'unknownKind', 100_000)
  conduct.remark(peer, 'limited', 100_000)
  expect(hangUp).not.toHaveBeenCalled()
  expect(conduct.report()[0]).toMatchObject({ score: 0, counts: { declined: 100_000 } })
})

test('[REC-53] the book has 1024 peers at most, and those who are held stay in it', () => {
  conduct.fault(peer, 'refused', 'forged', 10)
  for (let number = 0; number < 3000; number++) {
    const key = Buffer.alloc(32)
    key.writeUInt32BE(number)
    conduct.fault(nodeIdOf(key), 'refused', 'x'.repeat(10_000))
  }
  expect(conduct.report()).toHaveLength(1024)
  expect(conduct.isHeld(peer)).toBe(true)
  expect(Math.max(...conduct.report().map(({ lastFault }) => lastFault?.length ?? 0))).toBeLessThanOrEqual(200)
})
