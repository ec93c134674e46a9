import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errorCode } from '../core/errors.js'
import { openInvitation, type Accepted, type Role } from '../index.js'
import { components } from './components.js'
import { print, type ReachOptions } from './options.js'
import { signalled } from './signals.js'

/** Options of `murmurate invite`. */
export interface InviteOptions extends ReachOptions {
  /** ms */
  readonly lifetime: number
  readonly role?: readonly Role[]
  readonly port: number
  readonly address?: readonly string[]
}

/** Opens an invitation and waits until it is used or over; returns the exit code. */
export async function invite(options: InviteOptions): Promise<number> {
  const { dataDir, lifetime: lifetimeMs, port, address: addresses, role: roles = [], peer: peers = [], json } = options
  const { signal } = signalled()
  const where = addresses === undefined ? {} : { addresses }
  const { discovery } = options
  const given = { dataDir, lifetimeMs, port, roles, peers, discovery, signal, ...where }
  const invitation = await openInvitation(given, components)
  const { ticket, expiresAt } = invitation
  print(json, { ticket, expiresAt, port: invitation.port, addresses: invitation.addresses }, [ticket])
  console.error(`On the other machine:  murmurate join <the line above> --data-dir <directory>
It lets in one node, until ${new Date(expiresAt).toLocaleString()}, by TCP port ${invitation.port} of this machine. Waiting; Ctrl-C withdraws it.`)
  try {
    return await report(options, await invitation.accepted({ signal }))
  } catch (error) {
    if (errorCode(error) !== 'ABORTED') throw error
    if (json === true) console.log(JSON.stringify({ joined: null }))
    console.error('The invitation is withdrawn; the ticket is worth nothing any more.')
    return 1
  }
}

async function report({ dataDir, json }: InviteOptions, accepted: Accepted): Promise<number> {
  const { nodeId, name, received, rootVersion, draft, missing } = accepted
  const draftFile = draft === undefined ? undefined : join(dataDir, `join-${nodeId}.root`)
  if (draftFile !== undefined) await writeFile(draftFile, `${draft}\n`, { mode: 0o600 })
  const joined = { nodeId, name, received, rootVersion, missing, ...(draftFile === undefined ? {} : { draftFile }) }
  if (json === true) console.log(JSON.stringify({ joined }))
  console.error(`${name} has joined: ${nodeId}`)
  if (draftFile !== undefined) console.error(awaitedSignatures(draftFile, dataDir, missing))
  if (received) return 0
  console.error('It has not confirmed that it got everything. If it says that it did not, invite it again.')
  return 1
}

function awaitedSignatures(file: string, dataDir: string, missing: readonly string[]): string {
  return `What it was invited to be needs more signatures, of enough of these root keys:
${missing.map((key) => `  ${key}`).join('\n')}
Bring ${file} to where they are, run "murmurate keys sign" on it there, and at last
  murmurate keys apply ${file} --data-dir ${dataDir}`
}
