import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from 'node:tls'
import { throwIfAborted, abortedError, type AbortOptions } from '../core/abort.js'
import type { Clock, Timer } from '../core/environment.js'
import { MurmurateError, messageOf, systemCode } from '../core/errors.js'
import type { Logger } from '../core/logger.js'
import type { FleetId } from '../identity/fleet-root.js'
import { SignatureVerifier } from '../identity/signature.js'
import {
  decodeApplication,
  encodeRefusal,
  encodeWelcome,
  exporterOf,
  isProved,
  maxApplicationBytes,
  nextFrame,
  readFrames,
  sendFrame,
  tlsSettings,
  type Applicant,
  type Refusal,
  type Welcome
} from './enrolment.js'

/** An invitation that is open. */
export interface EnrolmentInit {
  readonly ticketId: Uint8Array
  readonly ticketKey: Uint8Array
  readonly fleetId: FleetId
  /** 0: a free one. */
  readonly port: number
  /** How long it stays open when nobody comes, ms on the monotonic clock. */
  readonly lifetimeMs: number
  /** Called at most once, for the one node that is let in. The ticket is burnt before. */
  readonly admit: (applicant: Applicant) => Promise<Welcome>
}

/** Who was let in, and whether it has confirmed that it has everything. */
export interface Enrolled extends Applicant {
  readonly received: boolean
}

/** What waiting needs. */
export interface EnrolmentComponents {
  readonly clock: Clock
  readonly logger: Logger
}

/** A connection that has not proved anything is cut after this, ms: a handshake over a slow link takes a second. */
const silenceMs = 3000
/** The one node that was let in has this long to take what it gets, ms: megabytes over a slow uplink. */
const deliveryMs = 60_000
/** Connections that have not proved anything; the oldest goes when another one comes. About 50 KiB each: 3 MiB. */
const maxUnproved = 64

/** Waits with a ticket's key until one node came, the time is over or it is closed. */
export class EnrolmentServer {
  readonly #components: EnrolmentComponents
  readonly #init: EnrolmentInit
  readonly #server: Server
  readonly #verifier = new SignatureVerifier({ capacity: 1 })
  readonly #sockets = new Set<Socket>()
  readonly #unproved = new Set<Socket>()
  readonly #result = Promise.withResolvers<Enrolled>()
  #lifetime: Timer | undefined
  #burnt = false

  constructor(components: EnrolmentComponents, init: EnrolmentInit) {
    this.#components = components
    this.#init = init
    this.#server = createServer((raw) => this.#accept(raw))
    this.#result.promise.catch(() => {})
  }

  /**
   * Opens the port, on all addresses of this machine; resolves to its number.
   *
   * @throws MurmurateError `PORT_IN_USE`, `NETWORK_ERROR`
   */
  async listen(): Promise<number> {
    const { port, lifetimeMs } = this.#init
    await listening(this.#server, port)
    this.#server.on('error', (error) => this.#components.logger.warn(`the enrolment port failed: ${error.message}`))
    this.#lifetime = this.#components.clock.setTimer(lifetimeMs, () => {
      const message = `Nobody used the invitation within ${Math.round(lifetimeMs / 1000)} s`
      this.#end(new MurmurateError('TICKET_EXPIRED', message))
    })
    return (this.#server.address() as AddressInfo).port
  }

  /**
   * Resolves to the node that was let in. Afterwards, whatever the end, nothing is left open.
   *
   * @throws MurmurateError `TICKET_EXPIRED`; `ABORTED`; what `admit` throws: the ticket is burnt then
   */
  async enrolled({ signal }: AbortOptions = {}): Promise<Enrolled> {
    const onAbort = (): void => this.#end(abortedError(signal))
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      throwIfAborted(signal)
      return await this.#result.promise
    } finally {
      signal?.removeEventListener('abort', onAbort)
      await this.close()
    }
  }

  /** Closes the port and all connections. */
  async close(): Promise<void> {
    this.#end(new MurmurateError('ABORTED', 'The invitation was withdrawn'))
    if (!this.#server.listening) return
    const closed = new Promise((resolve) => this.#server.once('close', resolve))
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #end(error: MurmurateError): void {
    this.#lifetime?.cancel()
    this.#result.reject(error)
  }

  #accept(raw: Socket): void {
    const [oldest] = this.#unproved.size >= maxUnproved ? this.#unproved : []
    oldest?.destroy()
    const { clock, logger } = this.#components
    const silence = clock.setTimer(silenceMs, () => raw.destroy())
    this.#sockets.add(raw)
    this.#unproved.add(raw)
    raw.once('close', () => {
      silence.cancel()
      this.#sockets.delete(raw)
      this.#unproved.delete(raw)
    })
    const from = String(raw.remoteAddress)
    const onError = (error: Error): void => {
      logger.info(`refused a connection from ${from}: ${messageOf(error)}`)
      raw.destroy()
    }
    const onSecure = (socket: TLSSocket): void => {
      socket.on('error', onError)
      void this.#talk(socket, () => {
        silence.cancel()
        this.#unproved.delete(raw)
      })
    }
    this.#secure(onSecure).on('tlsClientError', onError).emit('connection', raw)
  }

  /** TLS with a state of its own for each connection: no session of one can be taken up by another. */
  #secure(onSecure: (socket: TLSSocket) => void): TlsServer {
    const identity = Buffer.from(this.#init.ticketId).toString('base64url')
    const pskCallback = (_: TLSSocket, offered: string): Uint8Array | null =>
      offered === identity ? this.#init.ticketKey : null
    return createTlsServer({ ...tlsSettings, pskCallback }, onSecure)
  }

  async #talk(socket: TLSSocket, onProved: () => void): Promise<void> {
    try {
      const frames = readFrames(socket, maxApplicationBytes)
      const application = decodeApplication(await nextFrame(frames))
      const { ticketId, fleetId } = this.#init
      const transcript = { ticketId, fleetId, exporter: exporterOf(socket) }
      if (!isProved(application, transcript, this.#verifier)) throw new Error(`${application.nodeId} did not sign it`)
      if (this.#burnt) return await refuse(socket, 'used')
      this.#burnt = true
      onProved()
      await this.#admit(application, socket, frames)
    } catch (error) {
      this.#components.logger.info(`an application failed: ${messageOf(error)}`)
    } finally {
      socket.destroySoon()
    }
  }

  /** From here on the ticket is of no use to anybody else, whatever happens. */
  async #admit(
    { nodeId, name }: Applicant,
    socket: TLSSocket,
    frames: AsyncGenerator<Uint8Array, void, undefined>
  ): Promise<void> {
    this.#lifetime?.cancel()
    let welcome: Welcome
    try {
      welcome = await this.#init.admit({ nodeId, name })
    } catch (error) {
      this.#result.reject(error)
      return refuse(socket, 'failed')
    }
    const received = await this.#deliver(welcome, socket, frames)
    this.#result.resolve({ nodeId, name, received })
  }

  async #deliver(
    welcome: Welcome,
    socket: TLSSocket,
    frames: AsyncGenerator<Uint8Array, void, undefined>
  ): Promise<boolean> {
    const limit = this.#components.clock.setTimer(deliveryMs, () => socket.destroy())
    try {
      for (const frame of encodeWelcome(welcome)) await sendFrame(socket, frame)
      return (await nextFrame(frames)).byteLength === 0
    } catch (error) {
      this.#components.logger.warn(`the node that was let in did not get everything: ${messageOf(error)}`)
      return false
    } finally {
      limit.cancel()
    }
  }
}

async function refuse(socket: TLSSocket, why: Refusal): Promise<void> {
  await sendFrame(socket, encodeRefusal(why))
}

async function listening(server: Server, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen(port, resolve)
  try {
    await promise
  } catch (cause) {
    const [code, what] = systemCode(cause) === 'EADDRINUSE' ? (['PORT_IN_USE', 'is in use'] as const) : failure(cause)
    throw new MurmurateError(code, `Port ${port} ${what}`, { details: { port }, cause })
  } finally {
    server.off('error', reject)
  }
}

function failure(cause: unknown): readonly ['NETWORK_ERROR', string] {
  return ['NETWORK_ERROR', `cannot be opened: ${messageOf(cause)}`]
}
