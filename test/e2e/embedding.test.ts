import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { addressOf, TestNodes } from '../support/nodes.js'
import { until } from '../support/until.js'

let nodes: TestNodes

beforeEach(async () => {
  nodes = await TestNodes.create()
})

afterEach(async () => {
  await nodes.stop()
})

const processEvents = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'exit',
  'beforeExit',
  'uncaughtException',
  'unhandledRejection',
  'warning'
]

function listenerCounts(): number[] {
  return processEvents.map((event) => process.listenerCount(event))
}

function handles(): string[] {
  return process.getActiveResourcesInfo().filter((name) => /TCP|UDP|FSReq|Pipe|Timeout/.test(name))
}

it('an embedded node prints nothing, installs no handlers, and leaves nothing open after stop', async () => {
  const before = { listeners: listenerCounts(), handles: handles().length }
  const written = [vi.spyOn(process.stdout, 'write'), vi.spyOn(process.stderr, 'write')]
  const [a, b] = [await nodes.start('a', { discovery: true }), await nodes.start('b', { discovery: true })]
  await until('both see each other', () => a.fleet.members().length === 2 && b.fleet.members().length === 2)
  expect(listenerCounts()).toEqual(before.listeners)
  await Promise.all([a.stop(), b.stop()])
  for (const spy of written) expect(spy).not.toHaveBeenCalled()
  expect(listenerCounts()).toEqual(before.listeners)
  await until('all handles are closed', () => handles().length <= before.handles)
})

it('a node can be stopped twice, stopped before it was started, and started again with what it knew', async () => {
  const node = await nodes.make('a')
  await node.stop()
  await node.start()
  const path = join(nodes.directory, 'model.bin')
  await writeFile(path, 'weights')
  await node.models.publish('detector', '1.0.0', [{ id: 'default', files: [{ path }] }])
  await node.distribution.distributeModel('detector', '1.0.0')
  const watch = async (): Promise<number> => {
    let converged = 0
    for await (const status of node.distribution.subscribeConvergence('detector', '1.0.0')) converged = status.converged
    return converged
  }
  expect(await watch()).toBe(1)
  const digest = node.digest()
  await node.stop()
  await node.stop()
  await node.start()
  expect(node.digest()).toBe(digest)
  expect(await watch()).toBe(1)
})

it('two nodes agree on the verdict when their documents are equal', async () => {
  const [a, b] = [await nodes.start('a'), await nodes.start('b')]
  await b.connect(addressOf(a))
  const path = join(nodes.directory, 'model.bin')
  await writeFile(path, 'weights')
  await a.models.publish('detector', '1.0.0', [{ id: 'default', files: [{ path }] }])
  await a.distribution.distributeModel('detector', '1.0.0')
  for await (const status of b.distribution.subscribeConvergence('detector', '1.0.0', { wait: true })) {
    expect(status.converged + status.inProgress + status.pending).toBe(2)
  }
  await until('equal documents', () => a.digest() === b.digest())
  expect(a.distribution.convergenceStatus('detector', '1.0.0')).toEqual(
    b.distribution.convergenceStatus('detector', '1.0.0')
  )
})

it('[ROLL-26] what was ordered right before stop is known to the others', async () => {
  const [a, b] = [await nodes.start('a'), await nodes.start('b')]
  await b.connect(addressOf(a))
  await a.fleet.waitFor(2)
  const path = join(nodes.directory, 'model.bin')
  await writeFile(path, 'weights')
  for (const version of ['1.0.0', '1.0.1', '1.0.2']) {
    await a.models.publish('detector', version, [{ id: 'default', files: [{ path }] }])
    await a.distribution.distributeModel('detector', version)
  }
  await a.stop()
  expect(b.distribution.convergenceStatus('detector', '1.0.2').totalPlatforms).toBe(2)
})
