import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

declare module 'vitest' {
  interface ProvidedContext {
    /** How many seeds each simulation runs: `inject('seeds')`. */
    seeds: number
    /** The simulation of the record: `inject('simulation')`. */
    simulation: { readonly nodes: number; readonly seeds: readonly number[]; readonly writes: number }
  }
}

/** `npm run simulate -- --nodes 1000 --seeds 20`, or `--seed 7` for one of them alone; a plain `npm test` runs a few small ones. */
const seeds = numberOf('seeds') ?? 5
const seed = numberOf('seed')
const nodes = numberOf('nodes') ?? 60
const simulation = {
  nodes,
  // Beside the first write of each node. What a run costs grows with nodes times writes.
  writes: numberOf('writes') ?? (nodes < 200 ? 2 * nodes : nodes),
  seeds: seed === undefined ? Array.from({ length: numberOf('seeds') ?? 3 }, (_, index) => index + 1) : [seed]
}

export default defineConfig({
  resolve: {
    alias: [{ find: /^murmurate$/, replacement: fileURLToPath(new URL('src/index.ts', import.meta.url)) }]
  },
  test: {
    pool: 'forks',
    maxWorkers: 2,
    provide: { seeds, simulation },
    projects: [
      {
        extends: true,
        test: {
          name: 'quick',
          include: ['test/{unit,contracts,properties,architecture}/**/*.test.ts'],
          ...limits(15_000)
        }
      },
      {
        extends: true,
        test: {
          name: 'simulation',
          include: ['test/simulation/**/*.test.ts'],
          ...limits(120_000),
          // 1000 nodes hold 2 million entries, and most of what a run allocates lives for a moment only.
          execArgv: ['--max-old-space-size=12000', '--max-semi-space-size=64']
        }
      },
      {
        // Real processes and real mDNS: after all the others, one file at a time.
        extends: true,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          ...limits(120_000),
          maxWorkers: 1,
          sequence: { groupOrder: 1 }
        }
      }
    ]
  }
})

function numberOf(flag: string): number | undefined {
  const digits = new RegExp(`--${flag}[ =](\\d+)`).exec(process.argv.join(' '))?.[1]
  return digits === undefined ? undefined : Number(digits)
}

function limits(ms: number): { testTimeout: number; hookTimeout: number } {
  return { testTimeout: ms, hookTimeout: ms }
}
