import { silentLogger, type Logger } from '../../../src/core/logger.js'
import { LinkPresence } from '../../support/link-presence.js'
import { Membership, nodeKind, type NodeDescription } from '../../../src/fleet/membership.js'
import type { PageKind } from '../../../src/record/policy.js'
import type { EntryListener } from '../../../src/record/shared-document.js'
import { emptyDisk, type Disk, type RecordNode, type VirtualMesh } from '../record/mesh.js'

export const description: NodeDescription = {
  name: 'box',
  capabilities: { cpuArch: 'x86_64', memoryMb: 1024, gpus: [] },
  formations: ['north'],
  // Not in the order that canonical CBOR has them.
  labels: { shelf: '4', 'a-long-name': 'x', b: 'y' },
  software: '1'
}

export const expireAfterMs = 60_000

/** A node that has a document and knows the fleet, and nothing else. */
export interface Box {
  readonly record: RecordNode
  readonly presence: LinkPresence
  readonly membership: Membership
  /** Times that this node was described, as this node saw it. */
  writes: number
  /** Tells the listeners of a kind of entries as if they were in the document. */
  tell(kind: Pick<PageKind, 'name'>, entries: readonly unknown[], removed?: readonly unknown[]): void
}

export async function start(
  mesh: VirtualMesh,
  number: number,
  parts: Partial<NodeDescription> = {},
  disk: Disk = emptyDisk(),
  logger: Logger = silentLogger
): Promise<Box> {
  const record = await mesh.node(number, { disk })
  const { network, document } = record
  const { environment } = mesh
  const listeners = new Map<string, EntryListener<never>>()
  const subscribe = document.subscribe.bind(document)
  document.subscribe = (kind, listener) => {
    listeners.set(kind.name, listener)
    return subscribe(kind, listener)
  }
  const presence = new LinkPresence({ network, environment, logger })
  const own = { ...description, name: `box-${number}`, ...parts }
  const membership = new Membership({ network, document, presence, environment, logger }, own, { expireAfterMs })
  document.subscribe = subscribe
  const tell: Box['tell'] = (kind, entries, removed = []) =>
    listeners.get(kind.name)?.(entries as never, removed as never)
  const box = { record, presence, membership, writes: 0, tell }
  await environment.clock.run(document.start())
  document.subscribe(nodeKind, (entries) => {
    box.writes += entries.filter(({ writer }) => writer === record.keyPair.nodeId).length
  })
  presence.start()
  await environment.clock.run(membership.start())
  network.start()
  await environment.clock.advance(500)
  return box
}

export async function stop(mesh: VirtualMesh, { record, presence, membership }: Box): Promise<void> {
  record.network.stop()
  membership.stop()
  presence.stop()
  await mesh.environment.clock.run(record.document.stop())
}
