import type { Random } from '../core/environment.js'

/** First wait of TCP before it sends a packet again, in ms, as in Linux; it doubles each time. */
const retransmitMs = 200

/**
 * One direction of a link as TCP carries it where packets are lost, acknowledgements among them. What is not acknowledged is
 * sent again after 200 ms, 400 ms, 800 ms and so on; whatever follows waits for that, and then goes out in one packet. At a
 * loss of 25 % each way one try in 2.3 fails (1 - 0.75^2), and one packet in 60 holds up all others for 6 s or more.
 */
export class MemoryWay {
  readonly #random: Random
  readonly #loss: number
  #leavesAtMs = 0
  #arrivesAtMs = 0
  #acknowledgedAtMs = 0

  /** @param loss - part of the packets that is lost, 0 to 1 (both excluded) */
  constructor(random: Random, loss: number) {
    this.#random = random
    this.#loss = loss
  }

  /** How long something that is sent now waits until a packet with it gets through, in ms. */
  waitMs(now: number): number {
    if (now >= this.#leavesAtMs) this.#sendAt(Math.max(now, this.#acknowledgedAtMs))
    return this.#arrivesAtMs - now
  }

  #sendAt(leavesAtMs: number): void {
    this.#leavesAtMs = leavesAtMs
    let triedAtMs = leavesAtMs
    let arrivesAtMs: number | undefined
    for (let wait = retransmitMs; ; wait *= 2) {
      const arrives = !this.#isLost()
      if (arrives) arrivesAtMs ??= triedAtMs
      if (arrives && !this.#isLost()) break
      triedAtMs += wait
    }
    this.#arrivesAtMs = arrivesAtMs ?? triedAtMs
    this.#acknowledgedAtMs = triedAtMs
  }

  #isLost(): boolean {
    return this.#random.float() < this.#loss
  }
}
