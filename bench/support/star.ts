import { execFile, execFileSync, spawn, type ChildProcessByStdio } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A process on a host: what it prints can be read. */
export type HostProcess = ChildProcessByStdio<null, Readable, Readable>

/**
 * Hosts in network namespaces around a router, each with `eth0` at 10.83.0.<host>, hosts counted from 1. Not a bridge: its
 * hosts would fill the kernel's one neighbour table of 1024 at about 30. No multicast, so nodes need the addresses of some
 * peers. Needs root and iptables; touches no interface of the machine.
 */
export class Star {
  readonly #prefix = `mb${randomBytes(3).toString('hex')}`
  readonly #hosts: number

  private constructor(hosts: number) {
    this.#hosts = hosts
  }

  /** Why there can be no star on this machine; undefined when there can. */
  static missing(): string | undefined {
    if (process.getuid?.() !== 0) return 'network namespaces need root'
    try {
      for (const program of ['ip', 'iptables']) execFileSync(program, ['-V'], { stdio: 'ignore' })
      return undefined
    } catch {
      return 'the programs ip and iptables are needed (Debian: iproute2, iptables)'
    }
  }

  /** Makes the hosts; takes them down again when that fails half way. */
  static async up(hosts: number): Promise<Star> {
    const star = new Star(hosts)
    try {
      await star.#makeRouter()
      for (let host = 1; host <= hosts; host++) await star.#makeHost(host)
      return star
    } catch (error) {
      await star.down()
      throw error
    }
  }

  /** Where a host can be reached. */
  address(host: number): string {
    return `10.83.0.${host}`
  }

  /** Starts a program on a host; it keeps the id of the process that is returned. */
  spawn(host: number, command: string, args: readonly string[]): HostProcess {
    return spawn('ip', ['netns', 'exec', this.#nameOf(host), command, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  }

  /** Runs a program on a host to its end. */
  async run(host: number, command: string, args: readonly string[]): Promise<void> {
    await run('ip', ['netns', 'exec', this.#nameOf(host), command, ...args])
  }

  /** Drops every packet from and to a host; nobody is told. */
  async cut(host: number): Promise<void> {
    for (const side of ['-i', '-o']) await this.#filter('-I', 'FORWARD', side, portOf(host), '-j', 'DROP')
  }

  /** Ends a cut. */
  async heal(host: number): Promise<void> {
    for (const side of ['-i', '-o']) await this.#filter('-D', 'FORWARD', side, portOf(host), '-j', 'DROP')
  }

  /** From now on this part of all packets between hosts is lost, 0 to 1; 0 ends it. */
  async lose(part: number): Promise<void> {
    if (part === 0) return this.#filter('-F', 'FORWARD')
    const random = ['-m', 'statistic', '--mode', 'random', '--probability', String(part)]
    await this.#filter('-I', 'FORWARD', ...random, '-j', 'DROP')
  }

  /** Bytes that a host has sent on the wire, all headers included. */
  async sentBytes(host: number): Promise<number> {
    const file = '/sys/class/net/eth0/statistics/tx_bytes'
    return Number((await run('ip', ['netns', 'exec', this.#nameOf(host), 'cat', file])).stdout)
  }

  /** Takes it all down. The processes must have ended. */
  async down(): Promise<void> {
    const names = [...Array.from({ length: this.#hosts }, (_, index) => this.#nameOf(index + 1)), this.#router]
    await Promise.allSettled(names.map((name) => ip('netns', 'del', name)))
  }

  get #router(): string {
    return `${this.#prefix}r`
  }

  #nameOf(host: number): string {
    return `${this.#prefix}${host}`
  }

  async #filter(...args: string[]): Promise<void> {
    await run('ip', ['netns', 'exec', this.#router, 'iptables', ...args])
  }

  async #makeRouter(): Promise<void> {
    await ip('netns', 'add', this.#router)
    await ip('-n', this.#router, 'link', 'set', 'lo', 'up')
    await run('ip', ['netns', 'exec', this.#router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1'])
  }

  async #makeHost(host: number): Promise<void> {
    const [name, port, gateway] = [this.#nameOf(host), portOf(host), '10.83.0.254']
    await ip('netns', 'add', name)
    await ip('-n', this.#router, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
    await ip('-n', this.#router, 'addr', 'add', `${gateway}/32`, 'dev', port)
    await ip('-n', this.#router, 'link', 'set', port, 'up')
    await ip('-n', this.#router, 'route', 'add', `${this.address(host)}/32`, 'dev', port)
    await ip('-n', name, 'addr', 'add', `${this.address(host)}/32`, 'dev', 'eth0')
    for (const device of ['lo', 'eth0']) await ip('-n', name, 'link', 'set', device, 'up')
    await ip('-n', name, 'route', 'add', `${gateway}/32`, 'dev', 'eth0')
    await ip('-n', name, 'route', 'add', 'default', 'via', gateway)
  }
}

/** Hundredths of a second of CPU that a process has used, as /proc/<pid>/stat has them in fields 14 and 15. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

function portOf(host: number): string {
  return `port${host}`
}

async function ip(...args: string[]): Promise<void> {
  await run('ip', args)
}
