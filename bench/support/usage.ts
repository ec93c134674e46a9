import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'

/** What a process has used since it began. */
export interface Usage {
  /** Seconds since some fixed moment of this process. */
  readonly wallS: number
  /** CPU seconds of all its threads, user and system. */
  readonly cpuS: number
  /** Memory that it holds now, MB of 10^6 bytes. */
  readonly rssMb: number
}

/** Reads what this process has used. */
export function usage(): Usage {
  const { user, system } = process.cpuUsage()
  return { wallS: performance.now() / 1000, cpuS: (user + system) / 1e6, rssMb: process.memoryUsage.rss() / 1e6 }
}

/** The middle one of some numbers, or the mean of the middle two. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  const upper = sorted[Math.floor(sorted.length / 2)] ?? NaN
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? NaN
  return (lower + upper) / 2
}

/** The sum of some numbers. */
export function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

/** A number with so many digits behind the point. */
export function rounded(number: number, digits = 2): number {
  return Number(number.toFixed(digits))
}

/** Resolves when something is so; looks every 5 ms. */
export async function settled(isSo: () => boolean, limitMs = 60_000): Promise<void> {
  const end = performance.now() + limitMs
  while (!isSo()) {
    if (performance.now() > end) throw new Error(`It did not come to this within ${limitMs} ms: ${isSo.toString()}`)
    await sleep(5)
  }
}

/** The value below which this part of some numbers is, 0 to 1. */
export function quantile(numbers: readonly number[], part: number): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? NaN
}
