// What a gateway says of its requests: a plugin that writes down how each one ended, and a log that keeps its lines.
import type { Context } from '../../core/context.ts'
import { GatewayError } from '../../core/errors.ts'
import type { Logger } from '../../core/observe/log.ts'
import { type Plugin, plugin } from '../../core/plugin.ts'

/** One request as its log phase saw it. */
export interface Entry {
  path: string
  status: number
  ending: Context['ending']
  /** The code of a GatewayError, the text of anything else. */
  error: string | undefined
  bytes: number
  /** Status, and the fault behind a colon if there was one. */
  attempts: string[]
}

export interface Line {
  level: keyof Logger
  fields: Record<string, unknown>
  message: string
}

export interface Journal {
  /** Attach it to a global rule, so that it sees every request. */
  plugin: Plugin
  /** Requests in the order in which they began. */
  begun: Context[]
  entries: Entry[]
  log: Logger
  lines: Line[]
}

export function openJournal(): Journal {
  const begun: Context[] = []
  const entries: Entry[] = []
  const lines: Line[] = []
  const keep = (level: keyof Logger) => (fields: object, message: string) =>
    void lines.push({ level, fields: fields as Line['fields'], message })
  return {
    begun,
    entries,
    lines,
    log: { debug: keep('debug'), info: keep('info'), warn: keep('warn'), error: keep('error') },
    plugin: plugin({
      name: 'journal',
      priority: 0,
      version: 0.1,
      schema: { type: 'object' },
      setup: () => ({
        rewrite: ctx => void begun.push(ctx),
        log(ctx) {
          const { error } = ctx
          entries.push({
            path: ctx.request.path,
            status: ctx.reply!.status,
            ending: ctx.ending,
            error: error === undefined ? undefined : error instanceof GatewayError ? error.code : String(error),
            bytes: ctx.bodyBytesSent,
            attempts: ctx.attempts.map(({ status, fault }) =>
              fault === undefined ? `${status}` : `${status}:${fault}`,
            ),
          })
        },
      }),
    }),
  }
}
