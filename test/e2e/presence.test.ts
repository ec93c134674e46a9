import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { parseNodeId, type MurmurateNode, type NodeId, type PresenceState } from '../../src/index.js'
import { compiled, type Compiled } from '../support/compiled.js'
import { addressOf, TestNodes } from '../support/nodes.js'
import { inTime, until } from '../support/until.js'

/** A node in a process of its own; prints its id when it has linked up. */
const script = `
setInterval(() => {}, 1000)
const [url, dataDir, secret, ...addresses] = process.argv.slice(1)
const { createNode } = await import(url)
const node = await createNode({ dataDir, secret, listen: ['/ip4/127.0.0.1/tcp/0'], discovery: false })
await node.start()
for (const address of addresses) await node.connect(address)
console.log(node.id)
process.once('SIGTERM', () => void node.stop().then(() => process.exit()))
`

let library: Compiled
let nodes: TestNodes
let here: MurmurateNode[]
let child: ChildProcess | undefined

beforeAll(async () => {
  library = await compiled('index.ts')
})

afterAll(() => library.remove())

beforeEach(async () => {
  nodes = await TestNodes.create()
  here = []
  for (const name of ['one', 'two', 'three', 'four']) {
    const node = await nodes.start(name)
    for (const other of here) await node.connect(addressOf(other))
    here.push(node)
  }
})

afterEach(async () => {
  child?.kill('SIGKILL')
  await nodes.stop()
})

/** Starts the fifth node. */
async function startChild(): Promise<NodeId> {
  const dataDir = join(nodes.directory, 'five')
  const args = ['--input-type=module', '-e', script, library.url, dataDir, nodes.secret, ...here.map(addressOf)]
  child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  if (child.stdout === null) throw new Error('the child has no output')
  const [output] = await inTime('the fifth node', once(child.stdout, 'data'), 30_000)
  return parseNodeId(String(output).trim())
}

/** Resolves when all nodes of this process believe this of one. */
async function allSee(nodeId: NodeId, state: PresenceState): Promise<void> {
  await until(`all to see it ${state}`, () => here.every(({ presence }) => presence.stateOf(nodeId) === state), 20_000)
}

/** Resolves when all nodes of this process watch a node that has spoken for itself. */
async function allWatch(nodeId: NodeId): Promise<void> {
  const isMeasured = ({ presence }: MurmurateNode): boolean =>
    presence.links().some(({ peer, roundTripMs }) => peer === nodeId && roundTripMs !== undefined)
  await until('all to measure it', () => here.every(isMeasured), 20_000)
}

it('[FLEET-21] all see that a node was killed, and that it is back, with real sockets', async () => {
  const five = await startChild()
  await allWatch(five)
  child?.kill('SIGKILL')
  await allSee(five, 'failed')
  expect(here.map(({ presence }) => presence.offlineSince(five) !== undefined)).toEqual([true, true, true, true])
  for (const one of here) expect(here.map(({ id }) => one.presence.stateOf(id))).toEqual(here.map(() => 'alive'))
  expect(await startChild()).toBe(five)
  await allSee(five, 'alive')
})

it('[FLEET-24] a node that is stopped has left, and links are measured', async () => {
  const five = await startChild()
  await allSee(five, 'alive')
  await until('a round trip', () =>
    here.every(({ presence }) => presence.links().some(({ roundTripMs }) => roundTripMs !== undefined))
  )
  child?.kill('SIGTERM')
  await allSee(five, 'left')
})
