import { networkInterfaces } from 'node:os'
import type { AbortOptions } from '../core/abort.js'
import { messageOf, MurmurateError } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { Role } from '../identity/authority.js'
import { encodeSignedRoot, type FleetRoot, type SignedRoot } from '../identity/fleet-root.js'
import { encodeTicket, isHost, maxTicketAddresses, ticketIdBytes, ticketKeyBytes } from '../identity/ticket.js'
import { EnrolmentServer } from '../net/enrolment-server.js'
import { maxWelcomePeers, type Applicant, type Welcome } from '../net/enrolment.js'
import { readAddresses } from './address-file.js'
import { readMesh, type MeshFile } from './mesh-file.js'
import { missingSigners, type RootWish } from './root-change.js'
import { quietly, readChain, withRoots, type RootAccess, type RootComponents } from './root-delivery.js'
import { draftOf, encodeDraft } from './root-keys.js'

/** What an invitation is to be like. */
export interface InviteOptions extends RootAccess {
  /** How long it waits, ms. */
  readonly lifetimeMs: number
  /** Port that it waits on; 0: a free one. */
  readonly port: number
  /** Addresses or host names to put into the ticket. @default those of this machine's networks */
  readonly addresses?: readonly string[]
  /** Roles that the newcomer is given. */
  readonly roles: readonly Role[]
}

/** Who came, and what that changed. */
export interface Accepted extends Applicant {
  /** Whether it has confirmed that it has everything; if not, it needs another ticket. */
  readonly received: boolean
  /** Version of the root that it was given. */
  readonly rootVersion: number
  /** The draft that makes it a member or gives it its roles, for the other root keys to sign; undefined when none is needed. */
  readonly draft: string | undefined
  /** Keys of which enough must sign that draft. */
  readonly missing: readonly NodeId[]
}

/** An invitation that waits. */
export interface Invitation {
  /** The ticket: one line of text. */
  readonly ticket: string
  readonly expiresAt: number
  readonly port: number
  readonly addresses: readonly string[]
  /**
   * Waits for the one who has the ticket; to be called once.
   *
   * @throws MurmurateError `TICKET_EXPIRED`, `ABORTED`
   */
  accepted(options?: AbortOptions): Promise<Accepted>
}

/** What a newcomer changes: nothing, or a next root, signed as far as this data directory can. */
interface Admission {
  readonly chain: readonly SignedRoot[]
  readonly draft: string | undefined
  readonly missing: readonly NodeId[]
}

/**
 * Opens an invitation for one node. Works beside the node that runs on the same data directory.
 *
 * @throws MurmurateError `MESH_MISSING`, `MESH_UNREADABLE`, `ROOT_UNREADABLE`, `PORT_IN_USE`, `INVALID_REQUEST`
 */
export async function openInvitation(
  options: InviteOptions,
  components: RootComponents = quietly
): Promise<Invitation> {
  const { lifetimeMs, port: wanted, dataDir } = options
  const { random, clock } = components.environment
  const addresses = checkedAddresses(options.addresses ?? ownAddresses())
  const mesh = await readMesh(dataDir)
  await readChain(dataDir, mesh)
  const { fleetId } = mesh
  const [id, key] = [random.bytes(ticketIdBytes), random.bytes(ticketKeyBytes)]
  let admission: Admission | undefined
  const admit = async (applicant: Applicant): Promise<Welcome> => {
    admission = await admitted(options, mesh, applicant, components)
    const roots = admission.chain.map(encodeSignedRoot)
    return { secret: mesh.secret, peers: await peersOf(dataDir, mesh), awaiting: admission.missing, roots }
  }
  const init = { ticketId: id, ticketKey: key, fleetId, port: wanted, lifetimeMs, admit }
  const server = new EnrolmentServer({ clock, logger: components.logger }, init)
  const port = await server.listen()
  const expiresAt = clock.now() + lifetimeMs
  return {
    ticket: encodeTicket({ fleetId, id, key, expiresAt, port, addresses }),
    expiresAt,
    port,
    addresses,
    accepted: async (waiting) => {
      const enrolled = await server.enrolled(waiting)
      const { chain = [], draft, missing = [] } = admission ?? {}
      return { ...enrolled, rootVersion: chain.length, draft, missing }
    }
  }
}

/** Makes the newcomer what it was invited to be, as far as the keys here suffice. */
async function admitted(
  options: InviteOptions,
  mesh: MeshFile,
  { nodeId }: Applicant,
  components: RootComponents
): Promise<Admission> {
  const stored = await readChain(options.dataDir, mesh)
  const root = stored.at(-1)?.root
  assertNotRevoked(root, nodeId)
  if (root === undefined || wishesFor(root, nodeId, options.roles).length === 0) {
    return { chain: stored, draft: undefined, missing: [] }
  }
  return withRoots(options, components, async ({ chain, deliver }) => {
    const current = chain.at(-1)
    assertNotRevoked(current?.root, nodeId)
    const wishes = current === undefined ? [] : wishesFor(current.root, nodeId, options.roles)
    if (current === undefined || wishes.length === 0) return { chain, draft: undefined, missing: [] }
    const draft = await draftOf(options.dataDir, current, wishes, components)
    const missing = missingSigners(current.root, draft)
    if (missing.length > 0) return { chain, draft: encodeDraft(draft), missing }
    const next = [...chain, draft]
    await deliver(next).catch((error: unknown) =>
      // The newcomer carries it into the mesh: whoever it links to takes it.
      components.logger.warn(`the new root goes with the newcomer alone: ${messageOf(error)}`)
    )
    return { chain: next, draft: undefined, missing }
  })
}

function wishesFor(root: FleetRoot, id: NodeId, roles: readonly Role[]): RootWish[] {
  const lists = { operator: root.operators, publisher: root.publishers }
  const isListed = root.members === 'open' || root.members.includes(id)
  const places = [...(isListed ? [] : (['member'] as const)), ...roles.filter((role) => !lists[role].includes(id))]
  return places.map((place) => ({ type: 'add', id, place }))
}

/** Whoever was put out comes back by a decision about it, not by a ticket that was made for somebody. */
function assertNotRevoked(root: FleetRoot | undefined, nodeId: NodeId): void {
  if (root?.revoked.includes(nodeId) !== true) return
  throw new MurmurateError('NOT_PERMITTED', `${nodeId} is revoked`, { details: { nodeId } })
}

async function peersOf(dataDir: string, { peers }: MeshFile): Promise<string[]> {
  const own = await readAddresses(dataDir)
  const outside = own.filter((address) => !/^\/ip4\/127\.|^\/ip6\/::1\//.test(address))
  return [...(outside.length > 0 ? outside : own), ...peers].slice(0, maxWelcomePeers)
}

/** The addresses of this machine's networks; loopback where there is nothing else. */
function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  // A link-local address means nothing without the name of the network card of whoever dials it.
  const usable = all.filter(({ address }) => !address.startsWith('fe80:'))
  const outside = usable.filter(({ internal }) => !internal)
  return (outside.length > 0 ? outside : usable).map(({ address }) => address).slice(0, maxTicketAddresses)
}

function checkedAddresses(addresses: readonly string[]): readonly string[] {
  const wrong = addresses.find((address) => !isHost(address))
  if (wrong !== undefined)
    throw new MurmurateError('INVALID_REQUEST', `${JSON.stringify(wrong)} is no address and no host name`)
  if (addresses.length > 0 && addresses.length <= maxTicketAddresses) return addresses
  throw new MurmurateError('INVALID_REQUEST', `A ticket takes 1 to ${maxTicketAddresses} addresses`)
}
