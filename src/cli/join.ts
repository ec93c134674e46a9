import { text } from 'node:stream/consumers'
import { joinMesh, parseTicket } from '../index.js'
import { print, type CommonOptions } from './options.js'
import { signalled } from './signals.js'

/** Options of `murmurate join`. */
export interface JoinOptions extends CommonOptions {
  readonly name?: string
}

/** Uses a ticket: afterwards the data directory belongs to the mesh. */
export async function join(ticketOrDash: string, { dataDir, name, json }: JoinOptions): Promise<void> {
  const ticket = parseTicket(ticketOrDash === '-' ? await text(process.stdin) : ticketOrDash)
  const { signal } = signalled()
  const joined = await joinMesh(ticket, { dataDir, signal, ...(name === undefined ? {} : { name }) })
  const { nodeId, fleetId, rootVersion, awaiting } = joined
  const pending = [
    'This node is in the mesh but not a member yet: a root that names it waits for signatures. It takes that one by itself.'
  ]
  print(json, { nodeId, fleetId, rootVersion, awaiting, dataDir }, [
    `node ${nodeId}`,
    `fleet ${fleetId}`,
    ...(awaiting.length === 0 ? [] : pending),
    '',
    `Run it:    murmurate up --data-dir ${dataDir}`
  ])
}
