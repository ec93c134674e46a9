import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  createRoot,
  draftNext,
  encodeSignedRoot,
  fleetIdOf,
  keyPairFromSeed,
  MurmurateError,
  signRoot,
  type FleetRoot,
  type MurmurateNode,
  type NodeInit,
  type SignedRoot
} from '../../src/index.js'
import { addressOf, TestNodes } from '../support/nodes.js'
import { until } from '../support/until.js'

const rootKey = await keyPairFromSeed(new Uint8Array(32).fill(1))
let nodes: TestNodes

beforeEach(async () => {
  nodes = await TestNodes.create()
})

afterEach(async () => {
  await nodes.stop()
})

function found(changes: Partial<FleetRoot> = {}): { readonly first: SignedRoot; readonly init: Partial<NodeInit> } {
  const plain = {
    keys: [rootKey.nodeId],
    threshold: 1,
    operators: [],
    publishers: [],
    releaseThreshold: 1,
    members: 'open' as const,
    revoked: [],
    issuedAt: 1
  }
  const first = signRoot(createRoot({ ...plain, ...changes }), rootKey)
  return { first, init: { fleet: fleetIdOf(first), roots: [encodeSignedRoot(first)] } }
}

const next = (current: SignedRoot, changes: Partial<FleetRoot>): SignedRoot =>
  signRoot(draftNext(current.root, { issuedAt: 2, ...changes }), rootKey)
const codeOf = (error: unknown): unknown => (error instanceof MurmurateError ? error.code : error)
/** Ids of nodes are only known once they were made: a throw-away mesh makes their keys. */
const idsOf = async (...names: string[]): Promise<MurmurateNode['id'][]> =>
  Promise.all(names.map(async (name) => (await nodes.make(name)).id))
const names = (node: MurmurateNode): string[] =>
  node.fleet
    .members()
    .map(({ name }) => name)
    .sort()

test('[ROOT-17] a node that was not told the fleet id, or another one, gets no link with the secret alone', async () => {
  const [{ init }, other] = [found(), found({ issuedAt: 9 })]
  const member = await nodes.start('member', init)
  for (const [name, foreign] of [
    ['open', {}],
    ['other', other.init]
  ] as const) {
    const node = await nodes.start(name, foreign)
    expect(await node.connect(addressOf(member)).catch(codeOf)).toBe('NETWORK_ERROR')
  }
  expect(
    await nodes
      .make('wrong', { ...init, fleet: other.init.fleet ?? '' })
      .then((node) => node.start())
      .catch(codeOf)
  ).toBe('ROOT_REFUSED')
  expect(await nodes.make('bad', { fleet: 'fleet' }).catch(codeOf)).toBe('INVALID_REQUEST')
  expect(await nodes.make('bytes', { ...init, roots: [new Uint8Array(9)] }).catch(codeOf)).toBe('MALFORMED')
})

test('[ROOT-15] [ROOT-19] on real links: roles hold, a root spreads, a revoked node is cut off and its word is gone', async () => {
  const [boss = '' as never, thief = '' as never] = await idsOf('boss', 'thief')
  const { first, init } = found({ operators: [boss, thief], publishers: [boss, thief], releaseThreshold: 1 })
  const [a, b, c] = [
    await nodes.start('boss', init),
    await nodes.start('plain', { fleet: fleetIdOf(first) }),
    await nodes.start('thief', init)
  ]
  expect([b.root?.current, names(b)]).toEqual([undefined, []])
  await b.connect(addressOf(a))
  await c.connect(addressOf(a))
  await c.connect(addressOf(b))
  await until('all to know all', () => [a, b, c].every((node) => names(node).length === 3))
  const path = join(nodes.directory, 'model.bin')
  await writeFile(path, 'weights')
  const publish = (node: MurmurateNode, version: string): Promise<unknown> =>
    node.models.publish('detector', version, [{ id: 'any', files: [{ path }] }])
  expect(await publish(b, '1.0.0').catch(codeOf)).toBe('NOT_PERMITTED')
  await publish(c, '6.6.6')
  await publish(a, '1.0.0')
  await until('both versions', () => b.models.versions('detector').length === 2)
  await a.root?.install(next(first, { revoked: [thief] }))
  await until('the cut', () =>
    [a, b].every((node) => names(node).join() === 'boss,plain' && node.models.versions('detector').join() === '1.0.0')
  )
  await until('one digest', () => a.digest() === b.digest())
  // Nobody is left to ask: it believes that the others are gone once all of its patience is used up.
  await until('the revoked to notice', () => c.fleet.members().filter(({ online }) => online).length === 1, 40_000)
  expect(await c.connect(addressOf(b)).catch(codeOf)).toBe('NETWORK_ERROR')
  expect(await b.connect(addressOf(c)).catch(codeOf)).toBe('NETWORK_ERROR')
  await a.distribution.distributeModel('detector', '1.0.0')
  await until('both to run it', () => b.distribution.nodesWithVersion('detector', '1.0.0').length === 2)
  expect(a.fleet.members().map(({ online }) => online)).toEqual([true, true])
  const file = join(nodes.directory, 'plain', 'record', 'root')
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect(b.root?.chain.length).toBe(2)
  await b.stop()
  await writeFile(file, (await readFile(file)).subarray(1))
  await expect(async () => b.start()).rejects.toMatchObject({ code: 'ROOT_UNREADABLE' })
})

test('[ROOT-16] on real links: a stranger to a closed fleet hears nothing, until a root lets it in on the same link', async () => {
  const [one = '' as never, two = '' as never, stranger = '' as never] = await idsOf('one', 'two', 'stranger')
  const { first, init } = found({ operators: [one], publishers: [one], members: [two] })
  const [a, b, c] = [
    await nodes.start('one', init),
    await nodes.start('two', init),
    await nodes.start('stranger', { fleet: fleetIdOf(first) })
  ]
  await b.connect(addressOf(a))
  await c.connect(addressOf(a))
  await until('the members to know each other', () => names(a).length === 2 && names(b).length === 2)
  await until('the stranger to know the root', () => c.root?.current !== undefined)
  const path = join(nodes.directory, 'model.bin')
  await writeFile(path, 'weights')
  await a.models.publish('detector', '1.0.0', [{ id: 'any', files: [{ path }] }])
  await until('the release to spread', () => b.models.versions('detector').length === 1)
  expect([c.models.versions('detector'), names(c), c.root?.isMember(stranger)]).toEqual([[], [], false])
  await a.root?.install(next(first, { members: [two, stranger] }))
  await until('the newcomer to know all', () =>
    [a, b, c].every((node) => names(node).length === 3 && node.models.versions('detector').length === 1)
  )
  await a.models.publish('detector', '2.0.0', [{ id: 'any', files: [{ path }] }])
  await until('gossip to reach the newcomer', () => c.models.versions('detector').length === 2, 5000)
})
