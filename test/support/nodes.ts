import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createMeshSecret, createNode, type MurmurateNode, type NodeInit } from '../../src/index.js'

/** Nodes in this process, on loopback, that find each other only when told to; stopped and removed at the end. */
export class TestNodes {
  readonly directory: string
  readonly secret = createMeshSecret()
  readonly #nodes: MurmurateNode[] = []

  private constructor(directory: string) {
    this.directory = directory
  }

  static async create(): Promise<TestNodes> {
    return new TestNodes(await mkdtemp(join(tmpdir(), 'murmurate-nodes-')))
  }

  /** Makes a node without starting it. */
  async make(name: string, init: Partial<NodeInit> = {}): Promise<MurmurateNode> {
    const node = await createNode({
      dataDir: join(this.directory, name),
      secret: this.secret,
      name,
      listen: ['/ip4/127.0.0.1/tcp/0'],
      discovery: false,
      ...init
    })
    this.#nodes.push(node)
    return node
  }

  /** Makes and starts a node. */
  async start(name: string, init: Partial<NodeInit> = {}): Promise<MurmurateNode> {
    const node = await this.make(name, init)
    await node.start()
    return node
  }

  async stop(): Promise<void> {
    for (const node of this.#nodes) await node.stop()
    await rm(this.directory, { recursive: true, force: true })
  }
}

/** The address of a started node. */
export function addressOf(node: MurmurateNode): string {
  const [address] = node.addresses
  if (address === undefined) throw new Error('The node has no address')
  return address
}
