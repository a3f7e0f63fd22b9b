// The access log: a line for each request, and for what never became one (facts core 7.2); knows no plugin.
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Context } from '../context.ts'
import { commonLogTime, iso8601, type Variable } from '../router/vars.ts'
import { type LineFile, type LineFileOptions, openLineFile } from './line-file.ts'
import { compileLine, type Escape, type LineTemplate } from './line-template.ts'
import { loggedGetter } from './logged-variable.ts'
import { latencyMs } from './measures.ts'

export interface AccessLogSettings {
  path: string
  format: string
  escape: Escape
  /** Bytes that are written without waiting for more. */
  buffer: number
}

/** What came on a connection and was no request. */
export interface Refused {
  readonly status: number
  readonly client: string | undefined
}

/** Made with its folder. Throws the system's error when that cannot be. */
export function openAccessLog(settings: AccessLogSettings, options: Omit<LineFileOptions, 'enough'>): AccessLog {
  mkdirSync(dirname(settings.path), { recursive: true })
  const file = openLineFile(settings.path, { ...options, enough: settings.buffer })
  return new AccessLog(file, compileLine(settings.format, settings.escape), options.now)
}

export class AccessLog {
  readonly #file: Pick<LineFile, 'write' | 'close'>
  readonly #template: LineTemplate
  readonly #getters: readonly ((ctx: Context) => Variable)[]
  readonly #now: () => number

  constructor(file: Pick<LineFile, 'write' | 'close'>, template: LineTemplate, now: () => number) {
    this.#file = file
    this.#template = template
    this.#getters = template.names.map(name => (name === 'time_local' ? timeLocal() : loggedGetter(name)))
    this.#now = now
  }

  /** A request has ended. */
  record(ctx: Context): void {
    this.#file.write(line => this.#template.put(line, at => this.#getters[at]!(ctx)))
  }

  refused({ status, client }: Refused): void {
    const now = new Date(this.#now())
    const known: Record<string, Variable> = {
      remote_addr: client?.replace(/^::ffff:/, ''),
      status,
      request: '',
      request_time: '0.000',
      body_bytes_sent: 0,
      upstream_scheme: 'http',
      upstream_host: '',
      upstream_uri: '',
      time_local: commonLogTime(now),
      time_iso8601: iso8601(now),
      msec: (now.getTime() / 1000).toFixed(3),
      pid: process.pid,
    }
    this.#file.write(line => this.#template.put(line, at => known[this.#template.names[at]!]))
  }

  /** Resolves when what was recorded is in the file, or lost. */
  close(): Promise<void> {
    return this.#file.close()
  }
}

/** `$time_local`, made once a second: it is a sixth of what a line costs. */
function timeLocal(): (ctx: Context) => string {
  let second = -1
  let text = ''
  return ctx => {
    const ms = ctx.start + latencyMs(ctx)
    const now = Math.floor(ms / 1000)
    if (now !== second) text = commonLogTime(new Date(ms))
    second = now
    return text
  }
}
