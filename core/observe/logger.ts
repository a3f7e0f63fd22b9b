// What all logger plugins share (facts core C): attributes, checks, and the line of a request; knows no sink.
import type { Context } from '../context.ts'
import type { Hooks, Infer, Schema } from '../plugin.ts'
import { checkExpr } from '../router/expr.ts'
import { variable } from '../router/vars.ts'
import type { JsonBytes } from './json-bytes.ts'
import { KeptBodies } from './kept-bodies.ts'
import {
  checkLogFormat,
  compileLogFormat,
  type Entry,
  identity,
  llmFields,
  lookup,
  putDefaultLine,
} from './log-entry.ts'

const expression = { type: 'array', minItems: 1, items: { type: 'array' } } as const
const bytes = { type: 'integer', minimum: 1, default: 524_288 } as const

/** The attributes that say what a line holds. */
export const lineAttributes = {
  log_format: { type: 'object' },
  log_format_extra: { type: 'object' },
  include_req_body: { type: 'boolean', default: false },
  include_req_body_expr: expression,
  include_resp_body: { type: 'boolean', default: false },
  include_resp_body_expr: expression,
  max_req_body_bytes: bytes,
  max_resp_body_bytes: bytes,
} as const satisfies Schema['properties']

export type LineConfig = Infer<{ readonly type: 'object'; readonly properties: typeof lineAttributes }>

/** What metadata say for all uses of a logger; a config's own formats win. */
export const lineMetadata = {
  log_format: lineAttributes.log_format,
  log_format_extra: lineAttributes.log_format_extra,
} as const satisfies Schema['properties']

export type LineMetadata = Infer<{ readonly type: 'object'; readonly properties: typeof lineMetadata }>

/** What is wrong with those attributes that their schema cannot say, or nothing. */
export function checkLine(config: LineConfig): string | undefined {
  for (const name of ['include_req_body_expr', 'include_resp_body_expr'] as const) {
    const problem = config[name] && checkExpr(config[name])
    if (problem !== undefined) return `failed to validate the '${name}' expression: ${problem}`
  }
  return checkLogFormat(config.log_format) ?? checkLogFormat(config.log_format_extra)
}

/** Puts the line of one request, an object of JSON without a line's end. Puts the same as often as it is called. */
export type Put = (line: JsonBytes) => void

export interface Recorder {
  /** Takes the line of a request when it has ended. Must not wait for anything. */
  record(ctx: Context, put: Put): void
  close?(): Promise<void>
  /** Whether a request is to be recorded at all. */
  wants?(get: ReturnType<typeof lookup>): boolean
  /** The `route_id` of a request that no route matched; none without it. */
  unmatched?: string
}

/** The hooks of a logger plugin: they keep bodies, make the entry, and hand its line to the recorder. */
export function loggerHooks(config: LineConfig, metadata: LineMetadata | undefined, recorder: Recorder): Hooks {
  const log_format = config.log_format ?? metadata?.log_format
  const log_format_extra = config.log_format_extra ?? metadata?.log_format_extra
  const format = log_format && compileLogFormat(log_format)
  const extra = log_format_extra && compileLogFormat(log_format_extra)
  const kept = new KeptBodies({ ...config, ...(log_format && { log_format }) })
  const { unmatched } = recorder

  function write(ctx: Context, response: Awaited<ReturnType<KeptBodies['response']>>, llm: Entry): void {
    const bodies = { request: kept.request(ctx), response }
    if (recorder.wants?.(lookup(ctx, bodies, variable)) === false) return
    const get = lookup(ctx, bodies)
    recorder.record(ctx, line => {
      if (format !== undefined) line.raw(JSON.stringify({ ...format(get), ...identity(ctx, unmatched), ...llm }))
      else putDefaultLine(line, ctx, { bodies, unmatched, more: extra === undefined ? llm : { ...extra(get), ...llm } })
    })
  }

  return {
    ...kept.hooks(),
    log(ctx) {
      const response = kept.response(ctx)
      const llm = llmFields(ctx)
      if (response instanceof Promise || llm instanceof Promise)
        return Promise.all([response, llm]).then(([body, fields]) => write(ctx, body, fields))
      return write(ctx, response, llm)
    },
    close: () => recorder.close?.(),
  }
}
