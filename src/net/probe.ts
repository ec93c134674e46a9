import { connect } from 'node:net'
import { raceSignal, throwIfAborted, type AbortOptions } from '../core/abort.js'
import type { Clock } from '../core/environment.js'
import { systemCode } from '../core/errors.js'
import type { ProbeResult } from './network.js'

/** How to knock. */
export interface ProbeOptions extends AbortOptions {
  readonly clock: Clock
  /** How long to wait for an answer, ms. */
  readonly timeoutMs: number
}

/**
 * Opens a bare TCP connection to each of the multiaddrs at once and closes it again. One that answers is enough; all must
 * refuse before the peer counts as gone, since it may have another network card that is up.
 *
 * @throws MurmurateError `ABORTED`
 */
export async function probeAddresses(addresses: readonly string[], options: ProbeOptions): Promise<ProbeResult> {
  throwIfAborted(options.signal)
  const ended = new AbortController()
  try {
    const knocks = addresses.map((address) => knock(address, options, ended.signal))
    const results = await raceSignal(Promise.all(knocks), options.signal)
    if (results.includes('answers')) return 'answers'
    return results.length > 0 && results.every((result) => result === 'refused') ? 'refused' : 'silent'
  } finally {
    ended.abort()
  }
}

function knock(address: string, { clock, timeoutMs }: ProbeOptions, ended: AbortSignal): Promise<ProbeResult> {
  const [, , host, , port] = address.split('/')
  return new Promise((resolve) => {
    const socket = connect({ host: host ?? '', port: Number(port) })
    const finish = (result: ProbeResult): void => {
      timer.cancel()
      socket.destroy()
      resolve(result)
    }
    const timer = clock.setTimer(timeoutMs, () => finish('silent'))
    socket.once('connect', () => finish('answers'))
    socket.on('error', (error) => finish(systemCode(error) === 'ECONNREFUSED' ? 'refused' : 'silent'))
    ended.addEventListener('abort', () => finish('silent'), { once: true })
  })
}
