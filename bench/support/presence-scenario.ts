import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Fleet, OnSighting, Sighting } from './presence-fleets.js'
import { cpuSeconds, Star, type HostProcess } from './star.js'
import { median, rounded } from './usage.js'

/** What was found out about one program at one size. */
export interface PresenceFigures extends Row {
  /** From kill -9 until all others knew, seconds. */
  readonly killS: number
  /** From a cut that nobody is told of until all others knew, seconds. */
  readonly cutS: number
  /** From the start of the killed one until all others saw it alive, seconds: the start of the program is part of it. */
  readonly restartS: number
  /** From the order to change a state until all others had it, ms: median of ten. */
  readonly changeMs: number
  /** The same, the worst of the ten. */
  readonly changeWorstMs: number
  /** Different live members that anybody held for gone: under 25 % loss, while one was stopped for 3 s, and for 10 s (the stopped one not counted). */
  readonly falselyFailed: number
  /** Of those, under loss. */
  readonly falselyFailedUnderLoss: number
  /** Bytes that a member sent a second under loss, median; all headers included. */
  readonly lossBytesPerSecond: number
  /** The same at rest. */
  readonly idleBytesPerSecond: number
  /** Of one core, median of the members at rest. */
  readonly cpuPercent: number
}

type Row = Record<string, number>

/** How long to look, seconds. */
export interface Times {
  readonly lossSeconds: number
  readonly idleSeconds: number
}

/** Nothing takes longer than this, ms. */
const deadlineMs = 180_000
const changesMeasured = 10

/** Takes a fleet of one program through all that can happen to its members. */
export async function measurePresence(
  size: number,
  times: Times,
  makeFleet: (star: Star, see: OnSighting) => Fleet
): Promise<PresenceFigures> {
  const star = await Star.up(size)
  const view = new View(size)
  const fleet = makeFleet(star, (sighting) => view.see(sighting))
  const members = new Members(star, fleet, size)
  try {
    for (let host = 1; host <= size; host++) {
      members.start(host)
      // Programs that all start in one moment on two cores would only measure that.
      await sleep(200)
    }
    await view.until('all see all', () => view.allAlive())
    // What follows a start, such as a first full exchange, is not rest.
    await sleep(15_000)
    const rest = await members.costOver(times.idleSeconds)
    const changes = await measureChanges(members, view)
    const faults = await measureFaults(members, view)
    const doubts = await measureDoubts(members, view, times)
    return { ...faults, ...changes, ...doubts, idleBytesPerSecond: rest.bytesPerSecond, cpuPercent: rest.cpuPercent }
  } finally {
    await members.end()
    await star.down()
    fleet.clean()
  }
}

async function measureChanges(
  members: Members,
  view: View
): Promise<Pick<PresenceFigures, 'changeMs' | 'changeWorstMs'>> {
  const times: number[] = []
  for (let change = 1; change <= changesMeasured; change++) {
    const host = (change % (members.size - 1)) + 1
    view.forgetChanges(host)
    const begin = performance.now()
    await members.change(host)
    await view.until(`all see the change of ${host}`, () => view.allOthers(host, 'changed'))
    times.push(view.lastMs - begin)
    await sleep(1000)
  }
  return { changeMs: rounded(median(times), 0), changeWorstMs: rounded(Math.max(...times), 0) }
}

async function measureFaults(
  members: Members,
  view: View
): Promise<Pick<PresenceFigures, 'killS' | 'restartS' | 'cutS'>> {
  const [killed, cut] = [3, 5]
  const killS = await view.timed(
    `all see that ${killed} is dead`,
    () => view.allOthers(killed, 'failed'),
    () => members.kill(killed)
  )
  await sleep(2000)
  const restartS = await view.timed(
    `all see ${killed} again`,
    () => view.allOthers(killed, 'alive'),
    () => members.start(killed)
  )
  await view.until('all see all again', () => view.allAlive())
  await sleep(5000)
  const cutS = await view.timed(
    `all see that ${cut} is cut off`,
    () => view.allOthers(cut, 'failed'),
    () => members.star.cut(cut)
  )
  await members.star.heal(cut)
  await view.until('all see all after the cut', () => view.allAlive())
  await sleep(10_000)
  return { killS, restartS, cutS }
}

type Doubts = Pick<PresenceFigures, 'falselyFailed' | 'falselyFailedUnderLoss' | 'lossBytesPerSecond'>

/** Everybody lives: whoever is held for gone is so falsely. */
async function measureDoubts(members: Members, view: View, { lossSeconds }: Times): Promise<Doubts> {
  const doubted = new Set<number>()
  view.failedSince(doubted)
  await members.star.lose(0.25)
  const { bytesPerSecond } = await members.costOver(lossSeconds)
  const falselyFailedUnderLoss = doubted.size
  await members.star.lose(0)
  await view.until('all see all after the loss', () => view.allAlive())
  const stopped = 7
  for (const seconds of [3, 10]) {
    members.signal(stopped, 'SIGSTOP')
    await sleep(seconds * 1000)
    if (seconds > 3) doubted.delete(stopped)
    members.signal(stopped, 'SIGCONT')
    await sleep(10_000)
    if (seconds > 3) doubted.delete(stopped)
    await view.until(`all see all after a stop of ${seconds} s`, () => view.allAlive())
  }
  return { falselyFailed: doubted.size, falselyFailedUnderLoss, lossBytesPerSecond: bytesPerSecond }
}

/** What every host believes of every other one. */
class View {
  readonly #size: number
  readonly #states = new Map<string, Sighting['state']>()
  readonly #changed = new Set<string>()
  #failed: Set<number> | undefined
  #wake: () => void = () => {}
  /** When something was seen last, ms. */
  lastMs = 0

  constructor(size: number) {
    this.#size = size
  }

  see({ observer, subject, state }: Sighting): void {
    if (observer === subject) return
    this.lastMs = performance.now()
    if (state === 'changed') this.#changed.add(`${observer} ${subject}`)
    else this.#states.set(`${observer} ${subject}`, state)
    if (state === 'failed') this.#failed?.add(subject)
    this.#wake()
  }

  /** From now on, whoever is held for gone is added here. */
  failedSince(failed: Set<number>): void {
    this.#failed = failed
  }

  forgetChanges(host: number): void {
    for (const observer of this.#others(host)) this.#changed.delete(`${observer} ${host}`)
  }

  /** Whether all hosts but this one hold it for alive or gone, or have seen its change. */
  allOthers(host: number, state: Sighting['state']): boolean {
    return this.#others(host).every((observer) =>
      state === 'changed' ? this.#changed.has(`${observer} ${host}`) : this.#states.get(`${observer} ${host}`) === state
    )
  }

  allAlive(): boolean {
    return this.#others(0).every((host) => this.allOthers(host, 'alive'))
  }

  async until(what: string, condition: () => boolean): Promise<void> {
    const begin = performance.now()
    while (!condition()) {
      if (performance.now() - begin > deadlineMs) throw new Error(`not within ${deadlineMs / 1000} s: ${what}`)
      const seen = new Promise<void>((resolve) => (this.#wake = resolve))
      await Promise.race([seen, sleep(1000)])
    }
  }

  /** Seconds from an action to the last sighting that makes a condition true. */
  async timed(what: string, condition: () => boolean, act: () => unknown): Promise<number> {
    const begin = performance.now()
    await act()
    await this.until(what, condition)
    return rounded((this.lastMs - begin) / 1000)
  }

  #others(host: number): number[] {
    return Array.from({ length: this.#size }, (_, index) => index + 1).filter((other) => other !== host)
  }
}

/** The processes of a fleet. */
class Members {
  readonly star: Star
  readonly size: number
  readonly #fleet: Fleet
  readonly #processes = new Map<number, HostProcess>()

  constructor(star: Star, fleet: Fleet, size: number) {
    this.star = star
    this.size = size
    this.#fleet = fleet
  }

  start(host: number): void {
    this.#processes.set(host, this.#fleet.start(host))
  }

  signal(host: number, signal: NodeJS.Signals): void {
    this.#processes.get(host)?.kill(signal)
  }

  kill(host: number): void {
    this.signal(host, 'SIGKILL')
  }

  async change(host: number): Promise<void> {
    const child = this.#processes.get(host)
    if (child !== undefined) await this.#fleet.change(host, child)
  }

  /** What the median member sends and uses while nothing else happens. */
  async costOver(seconds: number): Promise<{ readonly bytesPerSecond: number; readonly cpuPercent: number }> {
    const before = await this.#used()
    await sleep(seconds * 1000)
    const after = await this.#used()
    const perSecond = (name: 'bytes' | 'cpuS'): number =>
      median(after.map((used, at) => (used[name] - (before[at]?.[name] ?? NaN)) / seconds))
    return { bytesPerSecond: rounded(perSecond('bytes'), 0), cpuPercent: rounded(perSecond('cpuS') * 100) }
  }

  async end(): Promise<void> {
    const running = [...this.#processes.values()].filter(
      ({ exitCode, signalCode }) => exitCode === null && signalCode === null
    )
    const ended = running.map((child) => once(child, 'exit'))
    for (const child of running) child.kill('SIGKILL')
    await Promise.all(ended)
  }

  async #used(): Promise<{ readonly bytes: number; readonly cpuS: number }[]> {
    const hosts = [...this.#processes]
    return Promise.all(
      hosts.map(async ([host, { pid }]) => ({
        bytes: await this.star.sentBytes(host),
        cpuS: pid === undefined ? NaN : cpuSeconds(pid)
      }))
    )
  }
}
