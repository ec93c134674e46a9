import { expect, test } from 'vitest'
import { CapabilityWatch } from '../../../src/fleet/capability-watch.js'
import { listeningLogger } from '../record/fixtures.js'
import { virtualMesh } from '../record/mesh.js'
import { start, type Box } from './boxes.js'

interface Watched {
  readonly box: Box
  readonly watch: CapabilityWatch
  readonly lines: readonly string[]
  /** What the disk has, MiB. */
  storageMb: number | undefined
  looks: number
  advance(minutes: number): Promise<void>
}

async function watched(storageMb: number | undefined): Promise<Watched> {
  const mesh = virtualMesh(1)
  const capabilities = { cpuCores: 4, ...(storageMb === undefined ? {} : { storageMb }) }
  const box = await start(mesh, 0, { capabilities })
  const { environment } = mesh
  const logger = listeningLogger()
  const probeStorageMb = (): Promise<number | undefined> => {
    it.looks += 1
    return Promise.resolve(it.storageMb)
  }
  const watch = new CapabilityWatch({ membership: box.membership, probeStorageMb, environment, logger })
  const advance = (minutes: number): Promise<void> => environment.clock.advance(minutes * 60_000)
  const it: Watched = { box, watch, lines: logger.lines, storageMb, looks: 0, advance }
  watch.start()
  return it
}

test.each<[number | undefined, number | undefined, boolean]>([
  [10_000, 10_000, false],
  [10_000, 9501, false],
  [10_000, 9500, true],
  [10_000, 10_500, true],
  [1_000_000, 998_977, false],
  [1_000_000, 998_976, true],
  [0, 0, false],
  [0, 1, true],
  [10_000, undefined, true],
  [undefined, 10_000, true],
  [undefined, undefined, false]
])('[FLEET-50] %j MiB that became %j are told: %j', async (told, found, isTold) => {
  const it = await watched(told)
  const { writes } = it.box
  it.storageMb = found
  await it.advance(3)
  expect(it.box.writes - writes).toBe(isTold ? 1 : 0)
  const { capabilities } = it.box.membership.self
  expect([capabilities.storageMb, capabilities.cpuCores]).toEqual([isTold ? found : told, 4])
  expect('storageMb' in capabilities).toBe((isTold ? found : told) !== undefined)
})

test('[FLEET-50] a disk that changes all the time is told of about once a minute', async () => {
  const it = await watched(10_000)
  const { writes } = it.box
  for (let second = 0; second < 600; second++) {
    it.storageMb = second % 2 === 0 ? 5000 : 50_000 + second * 5000
    await it.advance(1 / 60)
  }
  expect(it.box.writes - writes).toBeGreaterThanOrEqual(6)
  expect(it.box.writes - writes).toBeLessThanOrEqual(13)
})

test('[FLEET-50] when telling fails, it is tried again; once stopped, nobody looks', async () => {
  const it = await watched(10_000)
  it.box.record.disk.failure = new Error('The disk is full') as never
  it.storageMb = 1
  await it.advance(3)
  expect(it.lines).toContain('the space for models was not told: The disk is full')
  it.box.record.disk.failure = undefined
  const { writes } = it.box
  await it.advance(5)
  expect(it.box.writes - writes).toBe(1)
  it.watch.stop()
  it.watch.stop()
  const { looks } = it
  await it.advance(10)
  expect(it.looks).toBe(looks)
})
