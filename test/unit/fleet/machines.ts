import type { Machine } from '../../../src/fleet/machine.js'

/** What a machine of a test has; a plain one unless told otherwise. */
export interface MachineOptions {
  readonly arch?: string
  readonly cores?: number
  readonly memoryBytes?: number
  readonly files?: Readonly<Record<string, string>>
  readonly directories?: Readonly<Record<string, readonly string[]>>
  readonly nvidiaSmi?: string | undefined
}

/** A machine that is made up. */
export function fakeMachine(options: MachineOptions): Machine {
  const { arch = 'x64', cores = 8, memoryBytes = 16 * 1024 ** 3 } = options
  return {
    arch: () => arch,
    cores: () => cores,
    memoryBytes: () => memoryBytes,
    readText: (path) => Promise.resolve(options.files?.[path]),
    list: (path) => Promise.resolve(options.directories?.[path]),
    run: () => Promise.resolve(options.nvidiaSmi),
    freeBytes: () => Promise.resolve(undefined),
    usedBytes: () => Promise.resolve(0)
  }
}
