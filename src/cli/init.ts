import { foundMesh } from '../index.js'
import { print, type CommonOptions } from './options.js'

/** Options of `murmurate init`. */
export interface InitOptions extends CommonOptions {
  readonly name?: string
  readonly members: 'open' | 'list'
}

/** Founds a mesh in a data directory. */
export async function init({ dataDir, name, members, json }: InitOptions): Promise<void> {
  const { nodeId, fleetId, rootKey } = await foundMesh({ dataDir, members, ...(name === undefined ? {} : { name }) })
  print(json, { nodeId, fleetId, rootKey, members, dataDir }, [
    `node ${nodeId}`,
    `fleet ${fleetId}`,
    members === 'open' ? 'members: whoever is invited' : 'members: a list, signed by the root key',
    '',
    `${dataDir}/root.key decides who may do what: keep a copy in a safe place.`,
    `Run this node:       murmurate up --data-dir ${dataDir}`,
    `Bring in another:    murmurate invite --data-dir ${dataDir}`
  ])
}
