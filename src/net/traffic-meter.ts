import type { AbortOptions, ConnectionProtector, MessageStream } from '@libp2p/interface'

/** Bytes of one link or of all. */
interface Traffic {
  sentBytes: number
  receivedBytes: number
}

/**
 * Counts the bytes of every connection where TCP takes and gives them: below the private network, the encryption and the
 * muxer, above the headers of TCP and IP. The protector is the one public hook that libp2p calls there.
 */
export class TrafficMeter {
  readonly total: Traffic = { sentBytes: 0, receivedBytes: 0 }
  /** By `timeline`, the one object that a connection shares with the transport below it. */
  readonly #links = new WeakMap<object, Traffic>()

  /** Puts the meter before the protector of the private network. */
  around(protector: ConnectionProtector): ConnectionProtector {
    return {
      protect: (connection: MessageStream, options?: AbortOptions) => {
        const link: Traffic = { sentBytes: 0, receivedBytes: 0 }
        this.#links.set(connection.timeline, link)
        this.#countSent(connection, link)
        const secured = protector.protect(connection, options)
        // Not earlier: libp2p hands out what has come in to the first listener, and that must be the protector's own.
        this.#countReceived(connection, link)
        return secured
      }
    }
  }

  /** Bytes that came in over this connection since it was made. */
  receivedBytes(connection: { readonly timeline: object }): number {
    return this.#links.get(connection.timeline)?.receivedBytes ?? 0
  }

  #countSent(connection: MessageStream, link: Traffic): void {
    const send = connection.send.bind(connection)
    connection.send = (data) => {
      link.sentBytes += data.byteLength
      this.total.sentBytes += data.byteLength
      return send(data)
    }
  }

  #countReceived(connection: MessageStream, link: Traffic): void {
    connection.addEventListener('message', ({ data }) => {
      link.receivedBytes += data.byteLength
      this.total.receivedBytes += data.byteLength
    })
  }
}
