// The error log: what the gateway's code may say, and where it goes; knows no request.

/** One line per event: a message and, before it, fields. Never hand it headers, bodies or plugin configs. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Says nothing: for tests and for dry runs. */
export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} }
