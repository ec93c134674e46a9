/** Facts that go with a log line. */
export type LogFields = Readonly<Record<string, unknown>>

/** Where log lines go. A library never prints by itself: the default drops them. */
export interface Logger {
  /** What only a developer of the library wants to know. */
  debug(message: string, fields?: LogFields): void
  /** What happens in the normal course of things. */
  info(message: string, fields?: LogFields): void
  /** What is odd, and was dealt with. */
  warn(message: string, fields?: LogFields): void
  /** What failed and needs somebody. */
  error(message: string, fields?: LogFields): void
}

/** Drops everything. */
export const silentLogger: Logger = Object.freeze({
  debug() {},
  info() {},
  warn() {},
  error() {}
})

/** Puts the component's name before each line. */
export function componentLogger(logger: Logger, component: string): Logger {
  const line = (message: string): string => `${component}: ${message}`
  return {
    debug: (message, fields) => logger.debug(line(message), fields),
    info: (message, fields) => logger.info(line(message), fields),
    warn: (message, fields) => logger.warn(line(message), fields),
    error: (message, fields) => logger.error(line(message), fields)
  }
}
