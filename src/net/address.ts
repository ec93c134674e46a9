import { multiaddr, type Multiaddr } from '@multiformats/multiaddr'
import { messageOf, MurmurateError } from '../core/errors.js'
import { parseNodeId, type NodeId } from '../core/ids.js'

/** The form of the addresses that this network dials and listens on. */
const tcpPattern = /^\/(?:ip4|ip6|dns|dns4|dns6)\/[^/]+\/tcp\/\d{1,5}(?:\/p2p\/([^/]+))?$/
const form = 'expected /ip4/<address>/tcp/<port>, ip6 or dns4 alike'

/** An address to dial, and who is expected there. */
export interface DialAddress {
  readonly multiaddr: Multiaddr
  readonly peer: NodeId | undefined
}

/** @throws MurmurateError `INVALID_REQUEST` */
export function parseDialAddress(address: string): DialAddress {
  const peer = tcpPattern.exec(address)?.[1]
  return { multiaddr: parse(address), peer: peer === undefined ? undefined : parseNodeId(peer) }
}

/** @throws MurmurateError `INVALID_REQUEST` */
export function parseListenAddress(address: string): string {
  return parse(address).toString()
}

function parse(address: string): Multiaddr {
  const refuse = (cause?: unknown): MurmurateError =>
    new MurmurateError('INVALID_REQUEST', `${JSON.stringify(address)} is no address: ${form}`, { cause })
  if (!tcpPattern.test(address)) throw refuse()
  try {
    return multiaddr(address)
  } catch (cause) {
    throw refuse(cause)
  }
}

/** Whether `parseDialAddress` takes it. */
export function isDialable(address: string): boolean {
  try {
    parseDialAddress(address)
    return true
  } catch {
    return false
  }
}

/** The address with the peer that answers there. */
export function withPeer(address: string, peer: NodeId): string {
  return address.includes('/p2p/') ? address : `${address}/p2p/${peer}`
}

/** The error of a listener that did not come up. libp2p puts the reasons of all addresses into one text. */
export function listenError(cause: unknown): MurmurateError {
  const address = /EADDRINUSE: address already in use (\S+)/.exec(messageOf(cause))?.[1]
  if (address !== undefined)
    return new MurmurateError('PORT_IN_USE', `${address} is in use`, { cause, details: { address } })
  return new MurmurateError('NETWORK_ERROR', `Cannot listen: ${messageOf(cause)}`, { cause })
}
