import { withDeadline } from '../core/abort.js'
import type { Clock } from '../core/environment.js'
import { errorCode, MurmurateError } from '../core/errors.js'
import type { Channel } from '../net/network.js'
import { decodeSync, encodeSync, type SyncMessage } from './sync-messages.js'
import { packed } from './wire.js'

/** At most this many messages make up one list: 16 MiB hold 400 000 page digests. */
const maxListMessages = 64

/** A message of one type. */
export type MessageOf<Type extends SyncMessage['type']> = Extract<SyncMessage, { readonly type: Type }>
/** A message that is a part of a list. */
export type ListMessage = Extract<SyncMessage, { readonly last: boolean }>

/** What a round's channel needs. */
export interface RoundInit {
  readonly channel: Channel
  readonly clock: Clock
  /** A peer that says nothing or takes nothing for this long is given up, ms. */
  readonly silenceMs: number
  readonly signal: AbortSignal
}

/** The messages of one round. What is not as it should be is `MALFORMED`, and the peer's fault; nothing else is. */
export class Round {
  readonly #init: RoundInit
  readonly #frames: AsyncIterator<Uint8Array>

  constructor(init: RoundInit) {
    this.#init = init
    this.#frames = init.channel.frames()[Symbol.asyncIterator]()
  }

  async send(message: SyncMessage): Promise<void> {
    const { channel, clock, silenceMs, signal } = this.#init
    const frame = encodeSync(message)
    const send = (inner: AbortSignal): Promise<void> => channel.send([frame], { signal: inner })
    await withDeadline(clock, silenceMs, send, { signal, what: 'Sending a sync message' })
  }

  /** Sends items in as few messages as hold them; they are taken from the source as they go out. */
  async sendPacked<Item>(
    items: Iterable<Item>,
    sizeOf: (item: Item) => number,
    message: (items: readonly Item[], last: boolean) => SyncMessage
  ): Promise<void> {
    let held: readonly Item[] | undefined
    for (const group of packed(items, sizeOf)) {
      if (held !== undefined) await this.send(message(held, false))
      held = group
    }
    await this.send(message(held ?? [], true))
  }

  async receive(): Promise<SyncMessage> {
    const { channel, clock, silenceMs, signal } = this.#init
    const next = (): Promise<IteratorResult<Uint8Array>> => this.#frames.next()
    const frame = await withDeadline(clock, silenceMs, next, { signal, what: 'A sync message' }).catch(blame)
    if (frame.done === true) throw new MurmurateError('NETWORK_ERROR', `${channel.peer} ended the sync too early`)
    return decodeSync(frame.value)
  }

  /** The messages of a list, of which the first may have come already. */
  async *list<Type extends ListMessage['type']>(
    type: Type,
    first?: SyncMessage
  ): AsyncGenerator<Extract<ListMessage, { readonly type: Type }>> {
    for (let count = 0; count < maxListMessages; count++) {
      const message = count === 0 && first !== undefined ? first : await this.receive()
      if (!isOfType(message, type)) throw outOfTurn(message)
      yield message
      if (message.last) return
    }
    throw malformed(`a list of more than ${maxListMessages} messages`)
  }
}

function isOfType<Type extends ListMessage['type']>(
  message: SyncMessage,
  type: Type
): message is Extract<ListMessage, { readonly type: Type }> {
  return message.type === type
}

/** A frame above the limit is the peer's fault, like any other bytes that are no message. */
function blame(error: unknown): never {
  if (errorCode(error) === 'FRAME_TOO_LARGE') throw malformed('a message above its limit')
  throw error
}

/** The error for a message that nobody waits for. */
export function outOfTurn(message: SyncMessage): MurmurateError {
  return malformed(`a message "${message.type}" out of turn`)
}

/** The error for what an honest peer does not send. */
export function malformed(what: string): MurmurateError {
  return new MurmurateError('MALFORMED', `The round of sync contains ${what}`)
}

/** Checks that items come in ascending order, which also says that none comes twice. */
export class Ascending<Key extends string | number> {
  #previous: Key | undefined

  take(key: Key): void {
    if (this.#previous !== undefined && key <= this.#previous) throw malformed(`"${key}" after "${this.#previous}"`)
    this.#previous = key
  }
}
