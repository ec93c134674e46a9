import { hkdfSync } from 'node:crypto'
import { MurmurateError } from '../core/errors.js'
import { systemEnvironment, type Random } from '../core/environment.js'
import type { FleetId } from './fleet-root.js'

const secretBytes = 32
const textPrefix = 'murmurate-secret-1:'
const secretPattern = /^murmurate-secret-1:([A-Za-z0-9_-]{43})$/

/** What the members of a mesh share. Everything in it is derived; the secret itself cannot be read back from it. */
export interface MeshKeys {
  /** 32 bytes for the private network (pnet): without it no handshake begins. */
  readonly networkKey: Uint8Array
  /** Prefix of all gossip topics; tells nothing about the secret. */
  readonly topicPrefix: string
  /** mDNS service name; tells nothing about the secret. */
  readonly discoveryTag: string
}

/** A new random mesh secret in its text form: whoever has it can join. */
export function createMeshSecret(random: Random = systemEnvironment.random): string {
  return textPrefix + Buffer.from(random.bytes(secretBytes)).toString('base64url')
}

/**
 * Derives everything the mesh shares from its secret by HKDF-SHA256 (RFC 5869), a label for each purpose. The id of the fleet is
 * the salt: a node that was not told it, and would obey anyone, is in another mesh.
 *
 * @throws MurmurateError `SECRET_MALFORMED`; the message never contains the secret
 */
export function deriveMeshKeys(secret: string, fleetId?: FleetId): MeshKeys {
  const text = secretPattern.exec(secret.trim())?.[1]
  const key = text === undefined ? undefined : Buffer.from(text, 'base64url')
  if (key?.byteLength !== secretBytes) {
    throw new MurmurateError('SECRET_MALFORMED', `The mesh secret must be "${textPrefix}" followed by 43 characters`)
  }
  const derive = (label: string, length: number): Uint8Array =>
    new Uint8Array(hkdfSync('sha256', key, fleetId ?? '', `murmurate/1/${label}`, length))
  const hex = (label: string): string => Buffer.from(derive(label, 8)).toString('hex')
  return {
    networkKey: derive('pnet', 32),
    topicPrefix: `murmurate/${hex('topic')}`,
    discoveryTag: `_mm-${hex('mdns').slice(0, 10)}._udp.local`
  }
}
