import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createMeshSecret, type NodeId } from 'murmurate'
import { Child } from './child.js'
import type { NodeCalls } from './node-process.js'
import type { TcpCalls } from './tcp-process.js'

/** A node in a process of its own. */
export interface BenchNode {
  readonly id: NodeId
  readonly addresses: readonly string[]
  readonly child: Child<NodeCalls>
}

/** Runs a task with a temporary directory and with the processes that it makes; afterwards all are gone. */
export async function withProcesses<T>(task: (processes: Processes) => Promise<T>): Promise<T> {
  const processes = new Processes(await mkdtemp(join(tmpdir(), 'murmurate-bench-')))
  try {
    return await task(processes)
  } finally {
    await processes.stop()
  }
}

/** The processes of one measurement and where they write. */
export class Processes {
  readonly directory: string
  readonly #children: { stop(): Promise<void> }[] = []

  constructor(directory: string) {
    this.directory = directory
  }

  /**
   * A mesh of nodes, each linked with each: found by mDNS, or without it by dialling all that were started before.
   * The first is the one to publish from.
   */
  async mesh(size: number, { discovery }: { readonly discovery: boolean }): Promise<BenchNode[]> {
    const secret = createMeshSecret()
    const nodes: BenchNode[] = []
    for (let at = 0; at < size; at++) {
      const child = this.#keep(new Child<NodeCalls>(new URL('./node-process.js', import.meta.url)))
      const peers = discovery ? [] : nodes.flatMap(({ addresses }) => addresses)
      const started = await child.call('start', { dataDir: join(this.directory, `${at}`), secret, discovery, peers })
      nodes.push({ ...started, child })
    }
    await Promise.all(nodes.map(({ child }) => child.call('meshed', size)))
    return nodes
  }

  /** A process of the comparison. */
  tcp(): Child<TcpCalls> {
    return this.#keep(new Child<TcpCalls>(new URL('./tcp-process.js', import.meta.url)))
  }

  /** Ends all processes and removes what they wrote. */
  async stop(): Promise<void> {
    await Promise.all(this.#children.map((child) => child.stop()))
    await rm(this.directory, { recursive: true, force: true })
  }

  #keep<Kept extends { stop(): Promise<void> }>(child: Kept): Kept {
    this.#children.push(child)
    return child
  }
}
