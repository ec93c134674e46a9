import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { sleep, systemEnvironment } from '../../src/core/environment.js'
import { createMeshSecret } from '../../src/identity/mesh-secret.js'
import { Lan } from '../support/lan.js'
import { until } from '../support/until.js'

/** How long the cable is out, in seconds. Longer than libp2p's own patience: it gives up after about a minute. */
const cutSeconds = Number(process.env['MURMURATE_LAN_CUT_S'] ?? 190)
const script = fileURLToPath(new URL('../support/lan-node.mjs', import.meta.url))

/** One line of what a node tells. */
interface Line {
  readonly type: string
  readonly peer?: string
  readonly text?: string
  readonly message?: string
  readonly atMs: number
}

interface TestNode {
  readonly lines: Line[]
  readonly publish: (text: string) => void
}

let lan: Lan

beforeAll(async () => {
  lan = await Lan.up(2)
})

afterAll(async () => {
  await lan.down()
})

function startNode(host: number, secret: string): TestNode {
  const lines: Line[] = []
  const child = lan.spawn(host, process.execPath, [script, secret, '/ip4/0.0.0.0/tcp/0'])
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line) as Line))
  child.stderr.on('data', (chunk: Buffer) => lines.push({ type: 'stderr', text: chunk.toString(), atMs: 0 }))
  return { lines, publish: (text) => void child.stdin.write(`${text}\n`) }
}

const count = (node: TestNode, type: string): number => node.lines.filter((line) => line.type === type).length

/** A message of each reaches the other. */
async function expectMessagesFlow(nodes: readonly TestNode[], label: string, deadlineMs: number): Promise<void> {
  let turn = 0
  const flows = (): boolean => {
    for (const [index, node] of nodes.entries()) node.publish(`${label} from ${index} ${turn++}`)
    return nodes.every((node, index) =>
      node.lines.some(({ text }) => text?.startsWith(`${label} from ${1 - index}`) === true)
    )
  }
  await until(`the ${label} messages`, flows, deadlineMs)
}

test(`[NET-3] after ${cutSeconds} s without a cable the link comes back by itself within 60 s, and messages flow`, async () => {
  const secret = createMeshSecret(systemEnvironment.random)
  const nodes = [startNode(1, secret), startNode(2, secret)]
  await until('the first link', () => nodes.every((node) => count(node, 'connected') === 1), 15_000)
  await expectMessagesFlow(nodes, 'first', 10_000)

  await lan.cut(2)
  const cutAtMs = Date.now()
  await sleep(systemEnvironment.clock, cutSeconds * 1000)
  for (const node of nodes) expect(count(node, 'disconnected')).toBe(1)
  await lan.heal(2)
  const healedAtMs = Date.now()

  await until('the link to come back', () => nodes.every((node) => count(node, 'connected') === 2), 60_000)
  await expectMessagesFlow(nodes, 'second', 10_000)
  expect(nodes.map((node) => [count(node, 'connected'), count(node, 'disconnected'), count(node, 'stderr')])).toEqual([
    [2, 1, 0],
    [2, 1, 0]
  ])
  const noticed = nodes.map((node) => (node.lines.find(({ type }) => type === 'disconnected')?.atMs ?? 0) - cutAtMs)
  const back = nodes.map((node) => (node.lines.findLast(({ type }) => type === 'connected')?.atMs ?? 0) - healedAtMs)
  console.log(`cut noticed after ${noticed.join(' and ')} ms, link back after ${back.join(' and ')} ms`)
})
