import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { withDeadline } from '../../core/abort.js'
import { systemEnvironment } from '../../core/environment.js'
import { createMeshSecret, type NodeId } from '../../index.js'
import { cast } from './cast.js'
import { DemoNode } from './demo-node.js'
import { writeModelFile, type ModelFileInit } from './model-file.js'

/** mDNS takes a fraction of a second; a loaded machine more. */
const discoveryTimeoutMs = 60_000

/** The five processes of the demo and their temporary directory. */
export class DemoFleet {
  readonly directory: string
  readonly nodes: readonly DemoNode[]
  readonly #names = new Map<NodeId, string>()
  readonly #stopping = new AbortController()

  private constructor(directory: string) {
    this.directory = directory
    this.nodes = cast.map(({ name }) => new DemoNode(name))
  }

  /** Makes the directory and the processes; no node runs yet. */
  static async create(): Promise<DemoFleet> {
    return new DemoFleet(await mkdtemp(join(tmpdir(), 'murmurate-demo-')))
  }

  /** The node that publishes and orders. */
  get publisher(): DemoNode {
    return this.#at(0)
  }

  /** The node from which the demo is watched: any would do, this one is not the publisher. */
  get observer(): DemoNode {
    return this.#at(cast.length - 1)
  }

  /** Starts all nodes and waits until each sees all others; returns how long that took, ms. */
  async start(onMembers: (seen: readonly number[]) => void): Promise<number> {
    const secret = createMeshSecret()
    const seen = cast.map(() => 0)
    const everybodySeesAll = Promise.withResolvers<void>()
    const stopListening = this.nodes.map((node, at) =>
      node.onEvent((event) => {
        if (event.event !== 'members') return
        seen[at] = event.online
        onMembers(seen)
        if (seen.every((online) => online === cast.length)) everybodySeesAll.resolve()
      })
    )
    try {
      await Promise.all(this.nodes.map((node, at) => this.#startNode(node, at, secret)))
      const { clock } = systemEnvironment
      const begin = clock.monotonic()
      const options = { what: 'Discovery by mDNS', signal: this.#stopping.signal }
      await withDeadline(clock, discoveryTimeoutMs, () => everybodySeesAll.promise, options)
      return Math.round(clock.monotonic() - begin)
    } finally {
      for (const stop of stopListening) stop()
    }
  }

  /** The name of a node by its id. */
  nameOf(nodeId: NodeId): string {
    return this.#names.get(nodeId) ?? nodeId
  }

  /** Writes a model file into the demo's directory. */
  async makeModel(name: string, init: ModelFileInit): Promise<{ readonly path: string; readonly sizeBytes: number }> {
    const path = join(this.directory, 'source', name)
    await mkdir(join(this.directory, 'source'), { recursive: true })
    return { path, sizeBytes: await writeModelFile(path, init) }
  }

  /** Stops all processes and removes the directory. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await Promise.all(this.nodes.map((node) => node.stop()))
    await rm(this.directory, { recursive: true, force: true })
  }

  async #startNode(node: DemoNode, at: number, secret: string): Promise<void> {
    const member = cast[at]
    if (member === undefined) return
    const dataDir = join(this.directory, member.name)
    const { nodeId } = await node.start({ ...member, dataDir, secret })
    this.#names.set(nodeId, member.name)
  }

  #at(index: number): DemoNode {
    const node = this.nodes[index]
    if (node === undefined) throw new RangeError(`The demo has no node ${index}`)
    return node
  }
}
