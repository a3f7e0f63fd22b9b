// The error log: what the gateway's code may say, and where it goes; knows no request.
import { destination, pino, stdSerializers } from 'pino'

/** One line per event: fields first, then a message. Never hand it headers, bodies or plugin configs. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Says nothing: for tests and for dry runs. */
export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} }

/** A log that can be moved away: `reopen` goes on in a new file of the old name. */
export interface LogFile extends Logger {
  reopen(): void
}

/** JSON lines into `file`, or to stderr without one. `level` is pino's. Written before the call returns. */
export function openLog(level: string, file: string | undefined): LogFile {
  const out = destination({ dest: file ?? 2, sync: true, mkdir: true })
  const log = pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: label => ({ level: label }) },
      serializers: { err: describeError },
    },
    out,
  )
  return Object.assign(log, {
    reopen() {
      if (file !== undefined) out.reopen()
    },
  })
}

/** An error without the properties that libraries hang on it: undici's and node:http's carry raw bytes of requests. */
function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) }
  const { type, message, stack } = stdSerializers.err(error)
  const code = (error as NodeJS.ErrnoException).code
  return { type, message, ...(code && { code }), stack }
}
