import { equalBytes } from '../core/codec.js'
import type { KeyPair } from '../identity/keypair.js'
import { isLater, makeStatement, type Statement } from './presence-message.js'

/**
 * What this node says of itself. Nothing of it is on disk, and the wall clock may be wrong: a start takes the clock as a first
 * guess of an epoch that was never used, and goes above whatever the mesh turns out to hold.
 */
export class OwnIncarnation {
  readonly #keyPair: KeyPair
  #statement: Statement

  /** @param nowMs - the wall clock, ms since 1970 */
  constructor(keyPair: KeyPair, nowMs: number) {
    this.#keyPair = keyPair
    this.#statement = makeStatement(keyPair, 'alive', { epoch: Math.max(0, Math.floor(nowMs)), seq: 0 })
  }

  /** What it says at present. */
  get statement(): Statement {
    return this.#statement
  }

  /** Begins another life after a stop. */
  restart(nowMs: number): void {
    this.#say('alive', Math.max(this.#statement.epoch + 1, Math.floor(nowMs)), 0)
  }

  /** Contradicts an accusation. */
  refute(): void {
    this.#say('alive', this.#statement.epoch, this.#statement.seq + 1)
  }

  /** Says goodbye. */
  leave(): void {
    this.#say('left', this.#statement.epoch, this.#statement.seq + 1)
  }

  /** Whether something that this key signed is from a life that this process knows nothing of, and not over by its words. */
  isOvertakenBy(statement: Statement): boolean {
    if (isLater(this.#statement, statement)) return false
    return !equalBytes(this.#statement.signature, statement.signature)
  }

  /** Goes above that. */
  overtake({ epoch }: Statement): void {
    this.#say('alive', Math.max(this.#statement.epoch, epoch) + 1, 0)
  }

  #say(type: Statement['type'], epoch: number, seq: number): void {
    this.#statement = makeStatement(this.#keyPair, type, { epoch, seq })
  }
}
