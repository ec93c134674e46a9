import { jittered, type Environment, type Timer } from '../core/environment.js'
import type { Libp2pKnobs } from './libp2p-defaults.js'

/** What asking for peers needs. */
export interface DiscoveryInit {
  readonly environment: Environment
  readonly knobs: Libp2pKnobs
  /** Asks everyone on the local network who is there. */
  readonly query: () => void
  readonly linkCount: () => number
  readonly knownPeers: () => number
}

/**
 * Decides when to ask the local network for peers. A newcomer's first question is answered by all, and its own answers are
 * heard by all, so the later ones only mend what was lost; they grow rarer the more peers are known.
 */
export class Discovery {
  readonly #init: DiscoveryInit
  #timer: Timer | undefined
  #asked = 0

  constructor(init: DiscoveryInit) {
    this.#init = init
  }

  start(): void {
    this.stop()
    this.#asked = 0
    this.#schedule()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  /** The next wait in ms, before jitter. */
  #delayMs(): number {
    const { knobs, linkCount, knownPeers } = this.#init
    const lonely = linkCount() === 0
    if (lonely) return Math.min(1000 * 2 ** this.#asked, knobs.lonelyQueryMs)
    return Math.max(knobs.restQueryMs, knobs.restQueryPerPeerMs * knownPeers())
  }

  #schedule(): void {
    const { environment, query } = this.#init
    this.#timer = environment.clock.setTimer(jittered(environment.random, this.#delayMs()), () => {
      this.#asked = Math.min(this.#asked + 1, 10)
      query()
      this.#schedule()
    })
  }
}
