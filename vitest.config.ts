import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

declare module 'vitest' {
  interface ProvidedContext {
    /** How many seeds each simulation runs: `inject('seeds')`. */
    seeds: number
  }
}

/** `npm run simulate -- --seeds 200`; a plain `npm test` runs a few. */
const seeds = Number(/--seeds[ =](\d+)/.exec(process.argv.join(' '))?.[1] ?? 5)

export default defineConfig({
  resolve: {
    alias: [{ find: /^murmurate$/, replacement: fileURLToPath(new URL('src/index.ts', import.meta.url)) }]
  },
  test: {
    pool: 'forks',
    maxWorkers: 2,
    provide: { seeds },
    projects: [
      {
        extends: true,
        test: {
          name: 'quick',
          include: ['test/{unit,contracts,properties,architecture}/**/*.test.ts'],
          ...limits(15_000)
        }
      },
      { extends: true, test: { name: 'simulation', include: ['test/simulation/**/*.test.ts'], ...limits(120_000) } },
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

function limits(ms: number): { testTimeout: number; hookTimeout: number } {
  return { testTimeout: ms, hookTimeout: ms }
}
