import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import * as Y from 'yjs'
import { encodeSignedRoot, fleetIdOf, isEvidence, parsePageId } from '../../src/index.js'
import { firstRoot } from '../support/fleet-roots.js'
import { addressOf, TestNodes } from '../support/nodes.js'
import { seededBytes } from '../support/safetensors.js'
import { until } from '../support/until.js'

let nodes: TestNodes

beforeAll(async () => {
  nodes = await TestNodes.create()
})

afterAll(() => nodes.stop())

it('[FLEET-68] what a node holds is read in one place, page by page, as plain Yjs updates', async () => {
  const node = await nodes.start('reader')
  const pages = node.record.pages()
  expect(pages).toHaveLength(1)
  const doc = new Y.Doc()
  Y.applyUpdate(doc, node.record.export(pages[0] ?? expect.unreachable()) ?? expect.unreachable())
  expect([...doc.getMap('e').keys()]).toEqual([node.id])
  expect(node.record.export(parsePageId('node/none'))).toBeUndefined()
  expect(node.record.digest()).toBe(node.digest())
  expect([node.record.conduct(), node.record.evidence().filter(isEvidence)]).toEqual([[], []])
  expect((await node.fleet.health()).root).toBeUndefined()
})

it('[FLEET-67] after a real transfer the link of a node shows a rate', async () => {
  const [source, taker] = [await nodes.start('source'), await nodes.start('taker')]
  const path = join(nodes.directory, 'model.bin')
  await writeFile(path, seededBytes('link', 4 * 1024 * 1024))
  await taker.connect(addressOf(source))
  await source.models.publish('m', '1.0.0', [{ id: 'v', files: [{ path }] }])
  await source.distribution.distributeModel('m', '1.0.0')
  const rate = (): number => taker.presence.links().find(({ peer }) => peer === source.id)?.bytesPerSecond ?? 0
  await until('the link has a rate', () => rate() > 0)
})

it('[FLEET-66] an expired fleet root degrades the health of a node', async () => {
  const root = await firstRoot({ expires: 2000 })
  const node = await nodes.start('expired', { fleet: fleetIdOf(root), roots: [encodeSignedRoot(root)] })
  const { root: figures, nodes: healths } = await node.fleet.health()
  expect(figures).toEqual({ forks: 0, isExpired: true })
  expect(healths).toMatchObject([{ nodeId: node.id, status: 'degraded' }])
})
