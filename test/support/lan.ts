import { execFile, spawn, type ChildProcessByStdio } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import type { Readable, Writable } from 'node:stream'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A process on a host: we write to it, and it writes to us. */
export type HostProcess = ChildProcessByStdio<Writable, Readable, Readable>

/**
 * A local network of its own kernel network namespaces: a switch and some hosts, each with `eth0` at 10.79.0.<host>, hosts
 * counted from 1. Multicast goes to `eth0`, so mDNS works. Needs root; touches no interface of the machine. At most about 30
 * hosts: the kernel has one neighbour table of 1024 entries for all namespaces.
 *
 * Its namespaces carry a random prefix, so that several networks can be up at the same time.
 */
export class Lan {
  readonly #prefix = `mm${randomBytes(3).toString('hex')}`
  readonly #hosts: number
  readonly #processes: HostProcess[] = []

  private constructor(hosts: number) {
    this.#hosts = hosts
  }

  /** Makes a network with this many hosts; takes it down again when that fails half way. */
  static async up(hosts: number): Promise<Lan> {
    const lan = new Lan(hosts)
    try {
      await lan.#makeSwitch()
      for (let host = 1; host <= hosts; host++) await lan.#makeHost(host)
      return lan
    } catch (error) {
      await lan.down()
      throw error
    }
  }

  /** Where a host can be reached. */
  address(host: number): string {
    return `10.79.0.${host}`
  }

  /** Starts a program on a host. */
  spawn(host: number, command: string, args: readonly string[]): HostProcess {
    const child = spawn('ip', ['netns', 'exec', this.#nameOf(host), command, ...args], {
      stdio: ['pipe', 'pipe', 'pipe']
    })
    this.#processes.push(child)
    return child
  }

  /** Pulls the cable of a host: nobody is told, packets just do not arrive any more. */
  async cut(host: number): Promise<void> {
    await ip('-n', this.#switch, 'link', 'set', portOf(host), 'down')
  }

  /** Plugs it in again. */
  async heal(host: number): Promise<void> {
    await ip('-n', this.#switch, 'link', 'set', portOf(host), 'up')
  }

  /** Bytes that a host has sent and received on the wire, all headers included. */
  async wireBytes(host: number): Promise<{ sent: number; received: number }> {
    const read = async (name: string): Promise<number> => {
      const file = `/sys/class/net/eth0/statistics/${name}_bytes`
      return Number((await run('ip', ['netns', 'exec', this.#nameOf(host), 'cat', file])).stdout)
    }
    return { sent: await read('tx'), received: await read('rx') }
  }

  /** Ends what still runs on its hosts, and takes it all down. */
  async down(): Promise<void> {
    const running = this.#processes.filter((child) => child.exitCode === null && child.signalCode === null)
    const ended = running.map((child) => new Promise((resolve) => child.once('exit', resolve)))
    for (const child of running) child.kill('SIGKILL')
    await Promise.all(ended)
    const names = [...Array.from({ length: this.#hosts }, (_, index) => this.#nameOf(index + 1)), this.#switch]
    await Promise.allSettled(names.map((name) => ip('netns', 'del', name)))
  }

  get #switch(): string {
    return `${this.#prefix}-sw`
  }

  #nameOf(host: number): string {
    return `${this.#prefix}-${host}`
  }

  async #makeSwitch(): Promise<void> {
    await ip('netns', 'add', this.#switch)
    // Without snooping a bridge passes multicast on to everyone, as a cheap switch does.
    await ip('-n', this.#switch, 'link', 'add', 'bridge', 'type', 'bridge', 'mcast_snooping', '0')
    await ip('-n', this.#switch, 'link', 'set', 'bridge', 'up')
  }

  async #makeHost(host: number): Promise<void> {
    const name = this.#nameOf(host)
    const port = portOf(host)
    await ip('netns', 'add', name)
    await ip('-n', this.#switch, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
    await ip('-n', this.#switch, 'link', 'set', port, 'master', 'bridge', 'up')
    await ip('-n', name, 'addr', 'add', `${this.address(host)}/24`, 'dev', 'eth0')
    for (const device of ['lo', 'eth0']) await ip('-n', name, 'link', 'set', device, 'up')
    await ip('-n', name, 'route', 'add', '224.0.0.0/4', 'dev', 'eth0')
  }
}

function portOf(host: number): string {
  return `port${host}`
}

async function ip(...args: string[]): Promise<void> {
  await run('ip', args)
}
