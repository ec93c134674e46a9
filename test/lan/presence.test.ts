import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemEnvironment } from '../../src/core/environment.js'
import { createMeshSecret } from '../../src/identity/mesh-secret.js'
import { Lan, type HostProcess } from '../support/lan.js'
import { until } from '../support/until.js'

const script = fileURLToPath(new URL('../support/lan-member.mjs', import.meta.url))
const hosts = [1, 2, 3, 4, 5]
/** The bound for a silent cut is 7 s; a busy machine gets some more. */
const deadlineMs = 20_000

let lan: Lan
let directory: string
/** What each host believes of each, by their numbers. */
let views: Map<number, Record<string, string>>
let processes: Map<number, HostProcess>
const secret = createMeshSecret(systemEnvironment.random)

beforeEach(async () => {
  lan = await Lan.up(hosts.length)
  directory = await mkdtemp(join(tmpdir(), 'murmurate-lan-'))
  views = new Map()
  processes = new Map()
  for (const host of hosts) start(host)
  await until('all to see all', () => hosts.every((host) => sees(host, hosts, 'alive')), 60_000)
})

afterEach(async () => {
  await lan.down()
  await rm(directory, { recursive: true, force: true })
})

function start(host: number): void {
  const child = lan.spawn(host, process.execPath, [script, secret, join(directory, String(host)), `h${host}`])
  processes.set(host, child)
  createInterface({ input: child.stdout }).on('line', (line) => {
    views.set(host, (JSON.parse(line) as { members: Record<string, string> }).members)
  })
  child.stderr.resume()
}

/** Whether a host believes this of each of these. */
function sees(host: number, others: readonly number[], state: string): boolean {
  return others.every((other) => views.get(host)?.[`h${other}`] === state)
}

const without = (host: number): number[] => hosts.filter((other) => other !== host)

test('[FLEET-21] [FLEET-22] [FLEET-26] a killed node and a pulled cable are known to all, each side of a cut sees the other as gone, and all come back', async () => {
  processes.get(3)?.kill('SIGKILL')
  await until('all to see the death', () => without(3).every((host) => sees(host, [3], 'failed')), deadlineMs)
  for (const host of without(3)) expect(sees(host, without(3), 'alive')).toBe(true)
  start(3)
  await until('all to see it back', () => hosts.every((host) => sees(host, hosts, 'alive')), 60_000)

  await lan.cut(5)
  await until('all to see the cut', () => without(5).every((host) => sees(host, [5], 'failed')), deadlineMs)
  for (const host of without(5)) expect(sees(host, without(5), 'alive')).toBe(true)
  await until('the one to see that it is alone', () => sees(5, without(5), 'failed'), 2 * deadlineMs)
  await lan.heal(5)
  await until('all to be together again', () => hosts.every((host) => sees(host, hosts, 'alive')), 120_000)
})
