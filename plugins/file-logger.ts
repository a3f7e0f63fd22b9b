// file-logger: one line of JSON per request, appended to a file (facts core 8.3.27 and C.1).
import { contentEncoding, decode } from '../core/content-encoding.ts'
import type { Context } from '../core/context.ts'
import { openLineFile } from '../core/observe/line-file.ts'
import {
  type Bodies,
  checkLogFormat,
  compileLogFormat,
  type Entry,
  formatAsksFor,
  identity,
  type LoggedBody,
  llmFields,
  lookup,
  putDefaultLine,
} from '../core/observe/log-entry.ts'
import { type Awaitable, type Hooks, plugin, type Schema } from '../core/plugin.ts'
import type { Filter, Reply } from '../core/reply.ts'
import { checkExpr, compileExpr } from '../core/router/expr.ts'
import { variable } from '../core/router/vars.ts'

const expression = { type: 'array', minItems: 1, items: { type: 'array' } } as const
const bytes = { type: 'integer', minimum: 1, default: 524_288 } as const

const schema = {
  type: 'object',
  properties: {
    path: { type: 'string' },
    log_format: { type: 'object' },
    log_format_extra: { type: 'object' },
    include_req_body: { type: 'boolean', default: false },
    include_req_body_expr: expression,
    include_resp_body: { type: 'boolean', default: false },
    include_resp_body_expr: expression,
    max_req_body_bytes: bytes,
    max_resp_body_bytes: bytes,
    match: { type: 'array', maxItems: 20, items: { type: 'array' } },
  },
} as const satisfies Schema

const metadata = {
  type: 'object',
  properties: { path: { type: 'string' }, log_format: { type: 'object' }, log_format_extra: { type: 'object' } },
} as const satisfies Schema

/** What was kept of a request for its line. */
interface Kept {
  request?: LoggedBody
  response?: Collected
}

interface Collected {
  readonly chunks: Buffer[]
  readonly encoding: string | undefined
  size: number
  truncated: boolean
}

export default plugin({
  name: 'file-logger',
  priority: 399,
  version: 0.1,
  schema,
  metadata,
  orMetadata: ['path'],
  check(config) {
    for (const expr of config.match ?? []) {
      const problem = checkExpr(expr)
      if (problem !== undefined) return `failed to validate the 'match' expression: ${problem}`
    }
    for (const name of ['include_req_body_expr', 'include_resp_body_expr'] as const) {
      const problem = config[name] && checkExpr(config[name])
      if (problem !== undefined) return `failed to validate the '${name}' expression: ${problem}`
    }
    return checkLogFormat(config.log_format) ?? checkLogFormat(config.log_format_extra)
  },
  setup(config, { log, metadata, metrics, now, owner }) {
    const path = config.path ?? metadata?.path
    const log_format = config.log_format ?? metadata?.log_format
    const log_format_extra = config.log_format_extra ?? metadata?.log_format_extra
    if (path === undefined) {
      log.error(
        { plugin: 'file-logger', owner },
        'nothing is logged: there is no path in the config, nor in the metadata',
      )
      return {}
    }
    const { max_req_body_bytes: maxRequest, max_resp_body_bytes: maxResponse } = config
    const dropped = metrics.counter(
      'sluice_log_entries_dropped_total',
      'Log entries that were not written: the queue was full, or the file could not be written',
      ['plugin'],
    )
    const lost = (lines: number) => dropped.add(['file-logger'], lines)
    const open = () => openLineFile(path, { log, now, lost })
    // A dry run makes instances that never log: the file is opened by the first line.
    let file: ReturnType<typeof openLineFile> | undefined

    const matches = (config.match ?? []).map(expr => compileExpr(expr))
    const format = log_format && compileLogFormat(log_format)
    const extra = log_format_extra && compileLogFormat(log_format_extra)
    const wantsRequest = config.include_req_body || formatAsksFor(log_format, 'request_body')
    const requestExpr = config.include_req_body_expr && compileExpr(config.include_req_body_expr)
    const responseExpr = config.include_resp_body_expr && compileExpr(config.include_resp_body_expr)
    const kept = new WeakMap<Context, Kept>()

    function keep(ctx: Context, part: Kept): void {
      kept.set(ctx, { ...kept.get(ctx), ...part })
    }

    function access(ctx: Context): void | Promise<void> {
      if (requestExpr !== undefined && !requestExpr.test(name => variable(ctx, name))) return undefined
      const { body } = ctx
      if (body.empty) return undefined
      if (body.replayable) return keep(ctx, { request: cut(body.outgoing() as Buffer, maxRequest) })
      // Reading on would take the body away from the upstream, or hold it all: what is longer is only said to be there.
      if (body.declaredLength === undefined || body.declaredLength > maxRequest)
        return keep(ctx, { request: { text: undefined, truncated: true } })
      return body.bytes(maxRequest).then(whole => keep(ctx, { request: cut(whole, maxRequest) }))
    }

    function collect(ctx: Context, reply: Reply): Filter | undefined {
      if (responseExpr !== undefined && !responseExpr.test(name => variable(ctx, name))) return undefined
      const encoding = reply.headers.get('content-encoding')
      const collected: Collected = { chunks: [], encoding, size: 0, truncated: false }
      keep(ctx, { response: collected })
      return chunk => {
        const taken = Math.min(chunk.length, maxResponse - collected.size)
        if (taken < chunk.length) collected.truncated = true
        // Copied: a slice would keep the whole read it is part of.
        if (taken > 0) collected.chunks.push(Buffer.from(chunk.subarray(0, taken)))
        collected.size += taken
      }
    }

    function write(ctx: Context, response: LoggedBody | undefined, llm: Entry): void {
      const bodies: Bodies = { request: kept.get(ctx)?.request, response }
      const get = lookup(ctx, bodies)
      if (matches.length > 0 && !matches.some(expr => expr.test(get))) return
      file ??= open()
      file.write(line => {
        if (format !== undefined) line.raw(JSON.stringify({ ...format(get), ...identity(ctx), ...llm }))
        else putDefaultLine(line, ctx, { bodies, more: extra === undefined ? llm : { ...extra(get), ...llm } })
      })
    }

    function record(ctx: Context): void | Promise<void> {
      const collected = kept.get(ctx)?.response
      const response = collected && responseBody(collected, maxResponse)
      const llm = llmFields(ctx)
      if (response instanceof Promise || llm instanceof Promise)
        return Promise.all([response, llm]).then(([body, fields]) => write(ctx, body, fields))
      return write(ctx, response, llm)
    }

    const hooks: Hooks = { log: record, close: () => file?.close() }
    if (wantsRequest) hooks.access = access
    if (config.include_resp_body) hooks.body_filter = collect
    return hooks
  },
})

function cut(body: Buffer, max: number): LoggedBody {
  return { text: body.toString('utf8', 0, max), truncated: body.length > max }
}

/** Decompressed where that can be done; otherwise as it is. */
function responseBody({ chunks, encoding, truncated }: Collected, max: number): Awaitable<LoggedBody> {
  const raw = Buffer.concat(chunks)
  const coding = contentEncoding(encoding) ?? 'identity'
  if (coding === 'identity') return { text: raw.toString(), truncated }
  return decode(raw, coding, max)
    .catch(() => raw)
    .then(plain => ({ text: plain.toString(), truncated }))
}
