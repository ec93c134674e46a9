import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createMeshSecret } from 'murmurate'
import type { HostProcess, Star } from './star.js'

/** What one host said of another. */
export interface Sighting {
  readonly observer: number
  readonly subject: number
  readonly state: 'alive' | 'failed' | 'changed'
}

/** A program on every host of a star that watches those on the others. */
export interface Fleet {
  readonly name: 'murmurate' | 'serf'
  /** Starts it on a host, or starts it again there. */
  start(host: number): HostProcess
  /** Changes the state of a host, for all to see. */
  change(host: number, process: HostProcess): Promise<void>
  /** Frees what it keeps on the disk. */
  clean(): void
}

/** Hears of each thing that a host says. */
export type OnSighting = (sighting: Sighting) => void

/** Each host knows the addresses of these many next ones; the rest of the mesh it meets by gossip alone. */
const knownPeers = 6
const port = 4001

/** Murmurate on every host. */
export function murmurateFleet(star: Star, size: number, onSighting: OnSighting): Fleet {
  const directory = mkdtempSync(join(tmpdir(), 'murmurate-presence-'))
  const secret = createMeshSecret()
  const script = fileURLToPath(new URL('./presence-node.js', import.meta.url))
  const hosts = new Map<string, number>()
  const early: { observer: number; subject: string; state: Sighting['state'] }[] = []
  const addressOf = (host: number): string => `/ip4/${star.address(host)}/tcp/${port}`

  const hear = (observer: number, line: { id?: string; subject?: string; state?: Sighting['state'] }): void => {
    if (line.id !== undefined) hosts.set(line.id, observer)
    if (line.subject !== undefined && line.state !== undefined) {
      early.push({ observer, subject: line.subject, state: line.state })
    }
    // A host can be seen before it has said itself who it is.
    for (const sighting of early.splice(0)) {
      const subject = hosts.get(sighting.subject)
      if (subject === undefined) early.push(sighting)
      else onSighting({ ...sighting, subject })
    }
  }
  return {
    name: 'murmurate',
    start: (host) => {
      const steps = Array.from({ length: knownPeers }, (_, index) => (index * (index + 3)) / 2 + 1)
      const peers = [...new Set(steps.map((step) => ((host - 1 + step) % size) + 1))].filter((peer) => peer !== host)
      const child = star.spawn(host, process.execPath, [
        script,
        join(directory, String(host)),
        secret,
        addressOf(host),
        ...peers.map(addressOf)
      ])
      createInterface({ input: child.stdout }).on('line', (line) => hear(host, JSON.parse(line) as { id?: string }))
      child.stderr.on('data', (chunk: Buffer) => process.stderr.write(chunk))
      return child
    },
    change: (_host, child) => Promise.resolve(void child.kill('SIGUSR2')),
    clean: () => rmSync(directory, { recursive: true, force: true })
  }
}

const serfStates: Readonly<Record<string, Sighting['state']>> = {
  EventMemberJoin: 'alive',
  EventMemberFailed: 'failed',
  EventMemberLeave: 'failed',
  EventMemberUpdate: 'changed'
}

/** The version of the `serf` that is installed; undefined when there is none. */
export function serfVersion(): string | undefined {
  try {
    return execFileSync('serf', ['version'], { encoding: 'utf8' }).split('\n')[0]
  } catch {
    return undefined
  }
}

/** Serf with its LAN profile on every host; each joins by the first two. */
export function serfFleet(star: Star, onSighting: OnSighting): Fleet {
  let changes = 0
  const hear = (observer: number, line: string): void => {
    const [, event = '', subject] = /serf: (Event\w+): h(\d+)/.exec(line) ?? []
    const state = serfStates[event]
    if (state !== undefined) onSighting({ observer, subject: Number(subject), state })
  }
  return {
    name: 'serf',
    start: (host) => {
      const seeds = [1, 2].filter((seed) => seed !== host).map((seed) => `-retry-join=${star.address(seed)}`)
      const options = [`-node=h${host}`, `-bind=${star.address(host)}`, '-profile=lan', '-retry-interval=2s']
      const child = star.spawn(host, 'serf', ['agent', ...options, ...seeds])
      createInterface({ input: child.stdout }).on('line', (line) => hear(host, line))
      child.stderr.resume()
      return child
    },
    change: (host) => star.run(host, 'serf', ['tags', '-set', `change=${(changes += 1)}`]),
    clean: () => {}
  }
}
