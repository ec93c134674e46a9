import type { AbortOptions } from '../core/abort.js'
import { systemEnvironment, type Environment } from '../core/environment.js'
import { errorCode, messageOf, MurmurateError } from '../core/errors.js'
import { shortId, type NodeId } from '../core/ids.js'
import { decodeSignedRoot, verifyChain, type FleetId, type SignedRoot } from '../identity/fleet-root.js'
import { loadOrCreateKeyPair } from '../identity/keypair.js'
import { deriveMeshKeys } from '../identity/mesh-secret.js'
import type { Ticket } from '../identity/ticket.js'
import { claimTicket } from '../net/enrolment-client.js'
import type { Welcome } from '../net/enrolment.js'
import { alone, nodeKeyPath } from './founding.js'
import { assertNoMesh, createMesh, rootFileOf } from './mesh-file.js'

/** How a node joins. */
export interface JoinOptions extends AbortOptions {
  /** Directory of the new node; made when it is missing. */
  readonly dataDir: string
  /** Name for people. */
  readonly name?: string
}

/** A node that has joined. Nothing of it is secret. */
export interface Joined {
  readonly nodeId: NodeId
  readonly fleetId: FleetId
  /** Version of the root in force. */
  readonly rootVersion: number
  /** Root keys that have yet to sign before this node is a member; none when it is one. */
  readonly awaiting: readonly NodeId[]
}

/**
 * Uses a ticket: afterwards the data directory belongs to the mesh. What can fail on this side is tried before the ticket is
 * shown to anybody.
 *
 * @throws MurmurateError `MESH_EXISTS`, `DATA_DIR_IN_USE`, `DATA_DIR_UNREADABLE`, `INSUFFICIENT_STORAGE`, `KEY_UNREADABLE`;
 * `TICKET_UNANSWERED`, `TICKET_EXPIRED`, `TICKET_USED`, `ABORTED`
 */
export async function joinMesh(
  ticket: Ticket,
  { dataDir, name, signal }: JoinOptions,
  environment: Environment = systemEnvironment
): Promise<Joined> {
  return alone(dataDir, environment, async () => {
    await assertNoMesh(dataDir)
    const { clock, random } = environment
    const keyPair = await loadOrCreateKeyPair(nodeKeyPath(dataDir), random)
    const { nodeId } = keyPair
    const welcome = await claimTicket({ clock, keyPair, name: name ?? shortId(nodeId) }, ticket, { signal })
    const roots = verified(ticket.fleetId, welcome)
    const { fleetId } = ticket
    await rootFileOf(dataDir, fleetId).save(roots)
    const { secret, peers, awaiting } = welcome
    await createMesh(dataDir, { secret, fleetId, peers, ...(name === undefined ? {} : { name }) }, random)
    return { nodeId, fleetId, rootVersion: roots.length, awaiting }
  })
}

/** The ticket names the fleet: an inviter that shows another one's roots, or none that hold, is not the one it speaks of. */
function verified(fleetId: FleetId, { roots, secret }: Welcome): readonly SignedRoot[] {
  try {
    deriveMeshKeys(secret)
    const decoded = roots.map(decodeSignedRoot)
    verifyChain(fleetId, decoded)
    return decoded
  } catch (cause) {
    const message = `The inviter sent what this fleet does not go by (${errorCode(cause) ?? messageOf(cause)})`
    throw new MurmurateError('TICKET_USED', message, { cause })
  }
}
