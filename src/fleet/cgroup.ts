import { posix } from 'node:path'
import type { Machine } from './machine.js'

/** What the kernel lets this process have; undefined: as much as the machine has, or not known. */
export interface Limits {
  readonly memoryBytes: number | undefined
  /** CPU cores' worth of time; need not be whole. */
  readonly cores: number | undefined
}

type Files = Pick<Machine, 'readText'>

const root = '/sys/fs/cgroup'

/**
 * Reads the limits of the control group of this process and of those around it: the smallest counts. In a container the
 * limit is what there is, whatever the machine has. Both versions of control groups, since boards with older systems have
 * the first: https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/
 */
export async function readLimits(files: Files): Promise<Limits> {
  const own = (await files.readText('/proc/self/cgroup')) ?? ''
  const unified = ancestors(/^0::(\/.*)$/m.exec(own)?.[1]).map((path) => posix.join(root, path))
  const memoryV1 = ancestors(pathOf(own, 'memory')).map((path) => posix.join(root, 'memory', path))
  const cpuV1 = ancestors(pathOf(own, 'cpu')).map((path) => posix.join(root, 'cpu', path))
  const memory = await Promise.all([
    ...unified.map((group) => readAmount(files, posix.join(group, 'memory.max'))),
    ...memoryV1.map((group) => readAmount(files, posix.join(group, 'memory.limit_in_bytes')))
  ])
  const cores = await Promise.all([
    ...unified.map((group) => readCpuMax(files, group)),
    ...cpuV1.map((group) => readCpuQuota(files, group))
  ])
  return { memoryBytes: smallest(memory), cores: smallest(cores) }
}

/** Where a controller of the first version has this process: a line such as `4:cpu,cpuacct:/docker/1f`. */
function pathOf(own: string, controller: string): string | undefined {
  const lines = own.split('\n').map((line) => /^\d+:([^:]+):(\/.*)$/.exec(line))
  return lines.find((match) => match?.[1]?.split(',').includes(controller))?.[2]
}

/** A group and those around it. Inside a container the path may be that of the host and not exist: the root does. */
function ancestors(path: string | undefined): string[] {
  const parts = (path ?? '').split('/').filter((part) => part !== '' && part !== '..')
  return Array.from({ length: parts.length + 1 }, (_, depth) => `/${parts.slice(0, parts.length - depth).join('/')}`)
}

/** `max`, and a number above all memory, mean that there is no limit. */
async function readAmount(files: Files, path: string): Promise<number | undefined> {
  const text = (await files.readText(path))?.trim() ?? ''
  return /^\d{1,18}$/.test(text) && Number(text) > 0 ? Number(text) : undefined
}

/** A line such as `150000 100000`: microseconds of CPU time in each period of so many microseconds. */
async function readCpuMax(files: Files, group: string): Promise<number | undefined> {
  const text = (await files.readText(posix.join(group, 'cpu.max'))) ?? ''
  const [, quota, period] = /^(\d{1,15}) (\d{1,15})\s*$/.exec(text) ?? []
  return ratio(Number(quota), Number(period))
}

async function readCpuQuota(files: Files, group: string): Promise<number | undefined> {
  const [quota, period] = await Promise.all([
    readAmount(files, posix.join(group, 'cpu.cfs_quota_us')),
    readAmount(files, posix.join(group, 'cpu.cfs_period_us'))
  ])
  return quota === undefined || period === undefined ? undefined : ratio(quota, period)
}

function ratio(quota: number, period: number): number | undefined {
  return quota > 0 && period > 0 ? quota / period : undefined
}

function smallest(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined)
  return known.length === 0 ? undefined : Math.min(...known)
}
