import { defineConfig } from 'vitest/config'

/** Tests in network namespaces: they need root, so `npm test` leaves them out. One at a time: they share the kernel's tables. */
export default defineConfig({
  test: {
    name: 'lan',
    root: new URL('../..', import.meta.url).pathname,
    include: ['test/lan/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 1,
    testTimeout: 300_000,
    hookTimeout: 120_000
  }
})
