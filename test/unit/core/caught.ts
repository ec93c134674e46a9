import { MurmurateError } from '../../../src/core/errors.js'

/** The library's error that the action threw; undefined when it threw none. Anything else thrown passes through. */
export function caught(action: () => unknown): MurmurateError | undefined {
  try {
    action()
    return undefined
  } catch (error) {
    if (error instanceof MurmurateError) return error
    throw error
  }
}
