import { statfs } from 'node:fs/promises'
import { cpus, loadavg } from 'node:os'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Clock } from '../core/environment.js'
import type { Startable } from '../core/lifecycle.js'

const bytesPerMb = 1024 * 1024

/** Time of all CPU cores since the machine was switched on, ms. */
export interface CpuTimes {
  readonly busyMs: number
  readonly totalMs: number
}

/** The instruments that a node reads itself with. What cannot be measured is undefined. */
export interface Gauges extends Startable {
  /** 99th percentile of how late the event loop was since the start or the last `resetEventLoop`, ms. */
  eventLoopP99Ms(): number | undefined
  resetEventLoop(): void
  cpuTimes(): CpuTimes
  /** Memory that the process takes, bytes. */
  processBytes(): number
  /** Processes that wanted to run during the last minute, divided by the cores; above 1 some had to wait. */
  loadPerCore(): number | undefined
  /** Space that this user may still take on the disk of the data directory, bytes. */
  freeDiskBytes(): Promise<number | undefined>
}

/** How a node is, as it measured itself. A field that is absent is unknown. */
export interface VitalSigns {
  /** Of the time of all CPU cores of the machine, the part that was used lately, 0 to 100. */
  readonly cpuPercent?: number
  /** Memory that the node's process takes, MiB. */
  readonly memoryMb: number
  /** 99th percentile of how late the process gets to its work, over the last one to two minutes or since the start, ms. */
  readonly eventLoopMs?: number
  /** Processes that wanted to run during the last minute, divided by the cores. */
  readonly loadPerCore?: number
}

/** The CPU figure covers at least this time, ms: a shorter one says more of the reading than of the machine. */
const cpuWindowMs = 1000
/** What the event loop did longer ago than two of these is not held against it, ms. */
const eventLoopWindowMs = 60_000

/** Turns what the gauges show into figures, whoever reads them and how often. */
export class Vitals implements Startable {
  readonly #gauges: Gauges
  readonly #clock: Clock
  #cpuBefore: (CpuTimes & { readonly at: number }) | undefined
  #cpuPercent: number | undefined
  #windowSince = 0
  #lastWindowMs: number | undefined

  constructor(gauges: Gauges, clock: Clock) {
    this.#gauges = gauges
    this.#clock = clock
  }

  async start(): Promise<void> {
    await this.#gauges.start()
    this.#cpuBefore = { ...this.#gauges.cpuTimes(), at: this.#clock.monotonic() }
    this.#cpuPercent = undefined
    this.#windowSince = this.#clock.monotonic()
    this.#lastWindowMs = undefined
  }

  async stop(): Promise<void> {
    await this.#gauges.stop()
  }

  /** How this node is. */
  read(): VitalSigns {
    const cpuPercent = this.#readCpu()
    const eventLoopMs = this.#readEventLoop()
    const loadPerCore = this.#gauges.loadPerCore()
    return {
      memoryMb: toMb(this.#gauges.processBytes()),
      ...(cpuPercent === undefined ? {} : { cpuPercent }),
      ...(eventLoopMs === undefined ? {} : { eventLoopMs }),
      ...(loadPerCore === undefined ? {} : { loadPerCore })
    }
  }

  /** Free space of the disk with the data directory, MiB; undefined when unknown. */
  async freeDiskMb(): Promise<number | undefined> {
    const bytes = await this.#gauges.freeDiskBytes()
    return bytes === undefined ? undefined : toMb(bytes)
  }

  #readCpu(): number | undefined {
    const before = this.#cpuBefore
    const now = { ...this.#gauges.cpuTimes(), at: this.#clock.monotonic() }
    if (before !== undefined && now.at - before.at < cpuWindowMs) return this.#cpuPercent
    this.#cpuBefore = now
    const totalMs = now.totalMs - (before?.totalMs ?? now.totalMs)
    const busyMs = now.busyMs - (before?.busyMs ?? now.busyMs)
    this.#cpuPercent = totalMs > 0 ? Math.min(100, Math.max(0, (100 * busyMs) / totalMs)) : undefined
    return this.#cpuPercent
  }

  #readEventLoop(): number | undefined {
    const presentMs = this.#gauges.eventLoopP99Ms()
    const worstMs = Math.max(presentMs ?? -1, this.#lastWindowMs ?? -1)
    if (this.#clock.monotonic() - this.#windowSince >= eventLoopWindowMs) {
      this.#windowSince = this.#clock.monotonic()
      this.#lastWindowMs = presentMs
      this.#gauges.resetEventLoop()
    }
    return worstMs < 0 ? undefined : worstMs
  }
}

function toMb(bytes: number): number {
  return Math.floor(bytes / bytesPerMb)
}

/** How often the event loop is looked at, ms: ten times a second costs nothing that can be measured, and finds what a person feels. */
const resolutionMs = 100

/** The machine's own gauges. */
export function systemGauges(directory: string): Gauges {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs })
  return {
    start: () => void delay.enable(),
    stop: () => {
      delay.disable()
      delay.reset()
    },
    // Node measures from one look to the next, not how late the second was.
    eventLoopP99Ms: () => (delay.count === 0 ? undefined : Math.max(0, delay.percentile(99) / 1e6 - resolutionMs)),
    resetEventLoop: () => delay.reset(),
    cpuTimes,
    processBytes: () => process.memoryUsage.rss(),
    loadPerCore: () => {
      const cores = cpus().length
      // Windows has no such figure: Node says 0.
      return cores === 0 || process.platform === 'win32' ? undefined : (loadavg()[0] ?? 0) / cores
    },
    freeDiskBytes: () =>
      statfs(directory).then(
        ({ bavail, bsize }) => bavail * bsize,
        () => undefined
      )
  }
}

function cpuTimes(): CpuTimes {
  let busyMs = 0
  let idleMs = 0
  for (const { times } of cpus()) {
    idleMs += times.idle
    busyMs += times.user + times.nice + times.sys + times.irq
  }
  return { busyMs, totalMs: busyMs + idleMs }
}
