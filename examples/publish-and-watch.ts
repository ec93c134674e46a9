/**
 * Publishes a model and watches it arrive: how many nodes run it, and what exactly blocks the others.
 *
 * Two nodes in one process, so that everything is in one place; on two machines nothing would be different. The first
 * version asks for more GPU memory than the second node has. The verdict says so, with the numbers; the next version asks
 * for what the model really needs, and since its bytes are the same, the node that has them fetches nothing.
 *
 * `node publish-and-watch.js [FILE]`: publishes the file, or one made on the spot. In this repository:
 * `npm run build && npm run build:bench`, then `node .build/examples/publish-and-watch.js`.
 */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  createMeshSecret,
  createNode,
  isSuccess,
  type Capabilities,
  type ModelConvergenceStatus,
  type MurmurateNode
} from 'murmurate'

const model = 'target_recognition'
const directory = await mkdtemp(join(tmpdir(), 'publish-and-watch-'))
const secret = createMeshSecret()

/** A node on loopback that claims a GPU; a real node finds out by itself what it has. */
async function startNode(name: string, gpuGb: number, peers: readonly string[] = []): Promise<MurmurateNode> {
  const capabilities: Capabilities = { gpus: [{ name: 'GPU', memoryMb: gpuGb * 1024 }] }
  const listen = ['/ip4/127.0.0.1/tcp/0']
  const node = await createNode({ dataDir: join(directory, name), secret, name, capabilities, listen, peers })
  await node.start()
  return node
}

async function makeFile(): Promise<string> {
  const path = join(directory, 'model.bin')
  await writeFile(path, randomBytes(4 * 1024 * 1024))
  return path
}

/** The verdict in a line, and a line for each blocker. */
function print(status: ModelConvergenceStatus, nameOf: (nodeId: string) => string): void {
  const { targetVersion, state, totalPlatforms, converged, inProgress, pending, failed } = status
  const buckets = `converged ${converged}, in progress ${inProgress}, pending ${pending}, failed ${failed}`
  console.log(`${targetVersion} ${state}: ${buckets} of ${totalPlatforms}`)
  for (const { nodeId, reason, message, required, available, unit, nextStep } of status.blockers) {
    console.log(`  ${nameOf(nodeId)} is blocked by ${reason}: ${message}`)
    if (required !== undefined) console.log(`    required ${required} ${unit}, available ${available} ${unit}`)
    console.log(`    ${nextStep}`)
  }
}

/** Publishes and orders a version at one node, and follows the rollout from the other: any node can tell. */
async function rollOut(
  version: string,
  path: string,
  gpuMemoryMb: number
): Promise<ModelConvergenceStatus | undefined> {
  await publisher.models.publish(model, version, [{ id: 'fp16', files: [{ path }], requirements: { gpuMemoryMb } }])
  await publisher.distribution.distributeModel(model, version)
  let last: ModelConvergenceStatus | undefined
  for await (const status of watcher.distribution.subscribeConvergence(model, version, { wait: true })) {
    print(status, (nodeId) => (nodeId === publisher.id ? 'publisher' : 'watcher'))
    last = status
  }
  return last
}

const publisher = await startNode('publisher', 16)
// On a local network the two would find each other by mDNS.
const watcher = await startNode('watcher', 4, publisher.addresses)
try {
  await Promise.all([publisher.fleet.waitFor(2), watcher.fleet.waitFor(2)])
  const path = process.argv[2] ?? (await makeFile())

  const first = await rollOut('1.0.0', path, 8 * 1024)
  console.log(first !== undefined && isSuccess(first) ? 'all nodes run 1.0.0' : 'not all nodes can run 1.0.0')

  const second = await rollOut('1.0.1', path, 2 * 1024)
  console.log(second !== undefined && isSuccess(second) ? 'all nodes run 1.0.1' : 'not all nodes can run 1.0.1')
  for (const { nodeId, transfer } of watcher.distribution.nodesWithVersion(model, '1.0.1')) {
    const name = nodeId === publisher.id ? 'publisher' : 'watcher'
    console.log(`${name} received ${transfer?.receivedBytes ?? 0} of ${transfer?.totalBytes ?? 0} bytes`)
  }
} finally {
  await Promise.all([publisher.stop(), watcher.stop()])
  await rm(directory, { recursive: true, force: true })
}
