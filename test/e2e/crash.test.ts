import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { model, variantsOf } from '../../src/cli/demo/cast.js'
import type { DemoEvent } from '../../src/cli/demo/messages.js'
import type { DemoNode } from '../../src/cli/demo/demo-node.js'
import { writeModelFile } from '../../src/cli/demo/model-file.js'
import type { NodeModelStatus } from '../../src/index.js'
import { eventOf, Fleet, sees } from '../support/fleet.js'
import { inTime } from '../support/until.js'

const version = '1.0.0'
let fleet: Fleet
let sizeBytes: number

beforeEach(async () => {
  fleet = await Fleet.create()
})

afterEach(async () => {
  await fleet.stop()
})

/** Publishes the demo's 64 MiB model and orders it onto all nodes. */
async function publish(publisher: DemoNode): Promise<void> {
  const path = join(fleet.directory, 'model.safetensors')
  sizeBytes = await writeModelFile(path, { precision: 'fp16' })
  await publisher.call('publish', { model, version, variants: variantsOf(path, path).slice(0, 1) })
  await publisher.call('distribute', { model, version, scope: { kind: 'all' } })
}

/** Resolves when a node has fetched part of the model, but not all. */
async function isHalfWay(watcher: DemoNode, nodeId: string): Promise<void> {
  await eventOf(watcher, 'half of the transfer', (event): event is DemoEvent => {
    if (event.event !== 'progress' || event.progress.nodeId !== nodeId) return false
    return event.progress.haveBytes > 0.4 * event.progress.totalBytes
  })
}

function statusOf(statuses: readonly NodeModelStatus[], nodeId: string): NodeModelStatus | undefined {
  return statuses.find((status) => status.nodeId === nodeId)
}

it('[ROLL-20] a receiver killed in mid-transfer resumes after its restart and fetches nothing twice', async () => {
  const source = await fleet.start('source')
  const receiver = await fleet.start('receiver')
  await Promise.all([sees(source, 2), sees(receiver, 2)])
  const receiverId = await receiver.call('id', null)
  await publish(source)
  await isHalfWay(source, receiverId)
  await fleet.kill(receiver)

  const again = await fleet.start('receiver')
  const status = await inTime('convergence', again.call('watch', { model, version }), 60_000)
  expect(status).toMatchObject({ state: 'complete', converged: 2, totalPlatforms: 2 })
  const transfer = statusOf(await again.call('statuses', { model }), receiverId)?.transfer
  expect(transfer?.resumedBytes).toBeGreaterThan(0.2 * sizeBytes)
  expect((transfer?.resumedBytes ?? 0) + (transfer?.receivedBytes ?? 0)).toBe(sizeBytes)
})

it('[ROLL-21] when the publisher is killed after one peer has the file, the rest still converge', async () => {
  const source = await fleet.start('source')
  const first = await fleet.start('first')
  await Promise.all([sees(source, 2), sees(first, 2)])
  await publish(source)
  const firstStatus = await inTime('the first copy', first.call('watch', { model, version }), 60_000)
  expect(firstStatus.converged).toBe(2)
  await fleet.kill(source)

  const [second, third] = await Promise.all([fleet.start('second'), fleet.start('third')])
  const ids = await Promise.all([second.call('id', null), third.call('id', null)])
  await Promise.all([sees(second, 3), sees(third, 3)])
  for (const [at, node] of [second, third].entries()) {
    const status = await inTime('convergence', node.call('watch', { model, version }), 60_000)
    expect(status).toMatchObject({ converged: 4, totalPlatforms: 4 })
    expect(statusOf(await node.call('statuses', { model }), ids[at] ?? '')?.currentVersion).toBe(version)
  }
})
