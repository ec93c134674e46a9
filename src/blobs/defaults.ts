/** Every knob of moving bytes. The constants of the format and of the protocol are not knobs: see `manifestLimits`, `exchangeLimits`. */
export const blobsDefaults = Object.freeze({
  /** Files of one manifest that are fetched at the same time: one that no peer has does not hold up the rest. */
  concurrentFiles: 4,
  /** Reads from disk for peers at the same time. Node has 4 threads for files; twice that keeps them busy. */
  concurrentReads: 8,
  /** Local chunks that are copied at the same time when a new version reuses them. */
  concurrentCopies: 8,
  /** Chunk bytes asked of all peers and not yet written: what a fetch takes of memory. Eight times the credit of one peer. */
  outstandingBytes: 32 * 1024 * 1024,
  /** ms without any answer after which a peer is late: 256 KiB at 26 kB/s. */
  requestTimeoutMs: 10_000,
  /** ms until a block from a peer is given up: four of the largest pages (147 KB) at once at 60 kB/s. */
  blockTimeoutMs: 10_000,
  /** ms after which a peer is asked again that had nothing, or whose channel broke. */
  retryMs: 2000,
  /** ms for which a peer that sent wrong bytes once is left alone. */
  coolOffMs: 30_000,
  /** ms without progress after which the reason is told. */
  stallMs: 3000,
  /** ms for which news of chunks are collected: 10 messages a second for each receiver at most. */
  haveDelayMs: 100,
  /** ms after which a peer that takes nothing is cut off. */
  sendTimeoutMs: 30_000,
  /** Free bytes demanded beyond what will be written, for blocks and the file system's own needs: this many, but at most ... */
  marginBytes: 16 * 1024 * 1024,
  /** ... this part of what will be written. */
  marginRatio: 0.01,
  /** ms between looks for late peers, and between reports of progress (with up to 25 % jitter: at most 4 a second). */
  tickMs: 333
})

/** Knobs of moving bytes, see `blobsDefaults` for units and sources. */
export type BlobsInit = Partial<{ readonly [Knob in keyof typeof blobsDefaults]: number }>

/** All knobs, set or default. */
export type BlobsKnobs = Required<BlobsInit>
