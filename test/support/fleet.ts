import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DemoNode } from '../../src/cli/demo/demo-node.js'
import type { DemoEvent, DemoNodeInit } from '../../src/cli/demo/messages.js'
import { createMeshSecret } from '../../src/index.js'
import { inTime } from './until.js'

/** The compiled node process; `npm test` builds it first. */
const script = fileURLToPath(new URL('../../dist/cli/demo/node-process.js', import.meta.url))
/** A 16 GB GPU takes every variant of the demo's model. */
const capabilities: DemoNodeInit['capabilities'] = {
  cpuArch: 'x86_64',
  gpus: [{ name: 'GPU', memoryMb: 16 * 1024 }],
  providers: ['cuda', 'cpu']
}

/** Nodes in processes of their own, that a test can kill and start again on the same data. */
export class Fleet {
  readonly directory: string
  readonly secret = createMeshSecret()
  readonly #nodes = new Set<DemoNode>()

  private constructor(directory: string) {
    this.directory = directory
  }

  static async create(): Promise<Fleet> {
    return new Fleet(await mkdtemp(join(tmpdir(), 'murmurate-e2e-')))
  }

  /** Starts a node; the same name means the same data directory. */
  async start(name: string, init: Partial<DemoNodeInit> = {}): Promise<DemoNode> {
    const node = new DemoNode(name, script)
    this.#nodes.add(node)
    await node.start({ dataDir: join(this.directory, name), secret: this.secret, name, capabilities, ...init })
    return node
  }

  /** Ends a node's process as a power failure would, from the programs' point of view. */
  async kill(node: DemoNode): Promise<void> {
    if (node.pid === undefined) throw new Error(`${node.name} has no process`)
    process.kill(node.pid, 'SIGKILL')
    await inTime(`the end of ${node.name}`, node.exited)
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#nodes].map((node) => node.stop()))
    await rm(this.directory, { recursive: true, force: true })
  }
}

/** Resolves with the first event of a node that fits; fails after `deadlineMs`. */
export async function eventOf<E extends DemoEvent>(
  node: DemoNode,
  what: string,
  fits: (event: DemoEvent) => event is E,
  deadlineMs = 60_000
): Promise<E> {
  const { promise, resolve } = Promise.withResolvers<E>()
  const stop = node.onEvent((event) => {
    if (fits(event)) resolve(event)
  })
  try {
    return await inTime(what, promise, deadlineMs)
  } finally {
    stop()
  }
}

/** Resolves when a node sees this many members online. */
export async function sees(node: DemoNode, online: number): Promise<void> {
  const members = await node.call('members', null)
  if (members >= online) return
  await eventOf(
    node,
    `${node.name} sees ${online} members`,
    (event): event is DemoEvent => event.event === 'members' && event.online >= online
  )
}
