// The error log: what the gateway's code may say, and where it goes; knows no request.
import { destination, pino, stdSerializers } from 'pino'
import { openRepeats, type Repeats } from './repeats.ts'

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
  /** pino's; may be changed. */
  level: string
  reopen(): void
  /** Nothing more is said: tells what was left out. */
  end(): void
}

type Level = Exclude<keyof Logger, 'debug'>

/**
 * JSON lines into `file`, or to stderr without one. `level` is pino's. Written before the call returns. The same line of the
 * same plugin and route is written fifty times in ten seconds, and then how often it was left out; debug leaves out nothing.
 */
export function openLog(level: string, file: string | undefined, whileMs?: number): LogFile {
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
  const all: Repeats[] = []
  const say = (at: Level) => {
    const tell = (line: string, left_out: number) => log[at]({ left_out, line }, 'a line was left out: it was repeated')
    const repeats = openRepeats(tell, whileMs)
    all.push(repeats)
    return (fields: object, message: string): void => {
      if (log.isLevelEnabled(at) && repeats.admits(kindOf(fields, message))) log[at](fields, message)
    }
  }
  return {
    get level() {
      return log.level
    },
    set level(to) {
      log.level = to
    },
    debug: (fields, message) => log.debug(fields, message),
    info: say('info'),
    warn: say('warn'),
    error: say('error'),
    end() {
      for (const repeats of all) repeats.end()
    },
    reopen() {
      if (file !== undefined) out.reopen()
    },
  }
}

/** What says the same: not the request it says it of. */
function kindOf(fields: object, message: string): string {
  const { plugin, route } = fields as { plugin?: unknown; route?: unknown }
  const who = [plugin, route].filter(each => typeof each === 'string').join(' ')
  return who === '' ? message : `${message} (${who})`
}

/** An error without the properties that libraries hang on it: undici's and node:http's carry raw bytes of requests. */
function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) }
  const { type, message, stack } = stdSerializers.err(error)
  const code = (error as NodeJS.ErrnoException).code
  return { type, message, ...(code && { code }), stack }
}
