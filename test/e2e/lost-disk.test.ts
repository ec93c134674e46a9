import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { MurmurateNode } from '../../src/index.js'
import { addressOf, TestNodes } from '../support/nodes.js'
import { inTime, until } from '../support/until.js'

let nodes: TestNodes
let source: MurmurateNode
let receiver: MurmurateNode

beforeEach(async () => {
  nodes = await TestNodes.create()
  source = await nodes.start('source')
  receiver = await nodes.start('receiver')
  await receiver.connect(addressOf(source))
  await source.fleet.waitFor(2)
  const path = join(nodes.directory, 'model.bin')
  await writeFile(path, 'weights')
  await source.models.publish('detector', '1.0.0', [{ id: 'default', files: [{ path }] }])
  await source.distribution.distributeModel('detector', '1.0.0')
  await bothRun()
  await receiver.stop()
})

afterEach(async () => {
  await nodes.stop()
})

/** Resolves when both nodes run the version, as the source sees it. */
async function bothRun(): Promise<void> {
  const follow = async (): Promise<void> => {
    for await (const status of source.distribution.subscribeConvergence('detector', '1.0.0', { follow: true })) {
      if (status.converged === 2) return
    }
  }
  await inTime('convergence', follow(), 30_000)
}

/** Resolves when the model can be read from the receiver's directory again. */
async function receiverReads(): Promise<void> {
  const path = join(nodes.directory, 'receiver', 'models', 'detector', 'current', 'model.bin')
  const text = (): Promise<string> => readFile(path, 'utf8').catch(() => 'not there')
  await until('the model', async () => (await text()) === 'weights', 30_000)
}

it('[ROLL-25] a node whose model files are gone fetches them again', async () => {
  await rm(join(nodes.directory, 'receiver', 'blobs'), { recursive: true })
  const again = await nodes.start('receiver')
  await again.connect(addressOf(source))
  await receiverReads()
  await bothRun()
})

it('[ROLL-25] a node that lost everything but its key learns from the mesh what it ran, and runs it again', async () => {
  for (const name of await readdir(join(nodes.directory, 'receiver'))) {
    if (name !== 'node.key') await rm(join(nodes.directory, 'receiver', name), { recursive: true })
  }
  const again = await nodes.start('receiver')
  expect(again.id).toBe(receiver.id)
  await again.connect(addressOf(source))
  await receiverReads()
  await bothRun()
})
