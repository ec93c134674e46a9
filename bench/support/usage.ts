import { performance } from 'node:perf_hooks'

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
