import { systemEnvironment } from '../core/environment.js'

/** Time, chance, and warnings for people on stderr: stdout is for results. */
export const components = {
  environment: systemEnvironment,
  logger: {
    debug(): void {},
    info(): void {},
    warn: (message: string): void => console.error(message),
    error: (message: string): void => console.error(message)
  }
}
