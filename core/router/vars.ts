// Variables of a request by name (facts core 1.9), for EXPR, templates, log formats and keys; a table, nothing more.
import { hostname } from 'node:os'
import type { Attempt, Context } from '../context.ts'
import { rateLimitingInfo } from '../limits/quota.ts'
import { type Exchange, exchange } from '../llm/exchange.ts'
import { riskLevel } from '../llm/guards/risk-level.ts'
import { lastNode, latencyMs, requestSize, responseSize } from '../observe/measures.ts'
import { requestTrace } from '../observe/trace.ts'
import { captured } from './path-pattern.ts'
import { bodyArg, formArg } from './post-arg.ts'

/** Texts, as in nginx, except for the counts and times of `llm_*`. */
export type Variable = string | number | undefined

type Getter = (ctx: Context) => Variable

const host = hostname()

const getters = new Map<string, Getter>(
  Object.entries<Getter>({
    args: ctx => ctx.request.search,
    balancer_ip: ctx => exchange.get(ctx)?.instance ?? lastNode(ctx)?.host,
    balancer_port: ctx => lastNode(ctx)?.port,
    body_bytes_sent: ctx => String(ctx.bodyBytesSent),
    bytes_sent: ctx => String(responseSize(ctx)),
    apisix_request_id: ctx => ctx.id,
    apisix_upstream_response_time: ctx => exchange.get(ctx)?.upstreamMs ?? times(ctx, 'responseMs'),
    consumer_group_id: ctx => ctx.consumer?.groupId,
    consumer_name: ctx => ctx.consumer?.username,
    content_length: ctx => ctx.request.headers.get('content-length'),
    content_type: ctx => ctx.request.headers.get('content-type'),
    host: ctx => ctx.request.host,
    hostname: () => host,
    is_args: ctx => (ctx.request.search === '' ? '' : '?'),
    method: ctx => ctx.request.method,
    msec: ctx => ((ctx.start + latencyMs(ctx)) / 1000).toFixed(3),
    // Where `set_ngx_var` asks for them (facts core 7.4).
    opentelemetry_context_traceparent: ctx => requestTrace.get(ctx)?.shown?.traceparent,
    opentelemetry_span_id: ctx => requestTrace.get(ctx)?.shown?.spanId,
    opentelemetry_trace_id: ctx => requestTrace.get(ctx)?.shown?.traceId,
    original_forwarded: ctx => original(ctx, 'Forwarded'),
    original_x_forwarded_for: ctx => original(ctx, 'X-Forwarded-For'),
    original_x_forwarded_host: ctx => original(ctx, 'X-Forwarded-Host'),
    original_x_forwarded_port: ctx => original(ctx, 'X-Forwarded-Port'),
    original_x_forwarded_proto: ctx => original(ctx, 'X-Forwarded-Proto'),
    pid: () => String(process.pid),
    rate_limiting_info: rateLimitingInfo,
    query_string: ctx => ctx.request.search,
    real_request_uri: ctx => ctx.request.target,
    remote_addr: ctx => ctx.request.remoteAddress,
    remote_user: basicUser,
    remote_port: ctx => String(ctx.request.remotePort),
    request: ctx => `${ctx.request.method} ${ctx.request.target} HTTP/${ctx.request.httpVersion}`,
    request_id: ctx => ctx.id,
    request_length: ctx => String(requestSize(ctx)),
    request_method: ctx => ctx.request.method,
    request_time: ctx => seconds(latencyMs(ctx)),
    request_uri: ctx => ctx.request.path + (ctx.request.search === '' ? '' : `?${ctx.request.search}`),
    route_id: ctx => ctx.route?.id,
    route_name: ctx => ctx.route?.name,
    scheme: ctx => ctx.request.scheme,
    server_name: () => '_',
    server_port: ctx => String(ctx.request.serverPort),
    server_protocol: ctx => `HTTP/${ctx.request.httpVersion}`,
    service_id: ctx => ctx.route?.service?.id,
    service_name: ctx => ctx.route?.service?.name,
    status: ctx => ctx.reply && String(ctx.reply.status),
    time_iso8601: ctx => iso8601(nowOf(ctx)),
    time_local: ctx => commonLogTime(nowOf(ctx)),
    upstream_addr: ctx => joined(ctx, attempt => attempt.address),
    upstream_connect_time: ctx => times(ctx, 'connectMs'),
    upstream_header_time: ctx => times(ctx, 'headerMs'),
    upstream_host: upstreamHost,
    upstream_response_length: ctx => joined(ctx, attempt => String(attempt.bytesReceived)),
    upstream_response_time: ctx => times(ctx, 'responseMs'),
    upstream_scheme: ctx => exchange.get(ctx)?.upstream?.scheme ?? ctx.outbound.sent?.scheme ?? 'http',
    upstream_status: ctx => joined(ctx, attempt => attempt.status?.toString()),
    upstream_uri: ctx => exchange.get(ctx)?.upstream?.path ?? ctx.outbound.target ?? '',
    uri: ctx => ctx.request.path,
    // facts ai-plugins 18.1
    request_type: ctx => exchange.get(ctx)?.requestType ?? 'traditional_http',
    request_llm_model: ctx => text(exchange.get(ctx)?.requestModel),
    llm_model: ctx => text(exchange.get(ctx)?.model),
    llm_time_to_first_token: ctx => exchange.get(ctx)?.timeToFirstTokenMs ?? 0,
    llm_prompt_tokens: ctx => exchange.get(ctx)?.usage?.prompt ?? 0,
    llm_completion_tokens: ctx => exchange.get(ctx)?.usage?.completion ?? 0,
    llm_total_tokens: ctx => exchange.get(ctx)?.usage?.total ?? 0,
    llm_cache_read_input_tokens: ctx => exchange.get(ctx)?.usage?.cacheRead ?? 0,
    llm_cache_creation_input_tokens: ctx => exchange.get(ctx)?.usage?.cacheCreation ?? 0,
    llm_reasoning_tokens: ctx => exchange.get(ctx)?.usage?.reasoning ?? 0,
    llm_stream: ctx => String(streams(exchange.get(ctx))),
    llm_has_tool_calls: ctx => String(exchange.get(ctx)?.hasToolCalls ?? false),
    llm_tool_count: ctx => exchange.get(ctx)?.toolCount ?? 0,
    llm_end_user_id: ctx => exchange.get(ctx)?.endUserId ?? '',
    llm_content_risk_level: ctx => riskLevel.get(ctx) ?? '',
    // Ours.
    llm_attempts: ctx => triesOf(exchange.get(ctx)),
    llm_cut_by: ctx => exchange.get(ctx)?.cutBy,
  }),
)

const prefixes: readonly (readonly [prefix: string, get: (ctx: Context, rest: string) => Variable])[] = [
  ['arg_', (ctx, name) => ctx.request.query(name)],
  ['http_', (ctx, name) => field(ctx.request.headers, name)],
  ['cookie_', cookie],
  ['sent_http_', (ctx, name) => ctx.reply && field(ctx.reply.headers, name)],
  ['post_arg_', formArg],
  ['post_arg.', bodyArg],
  ['uri_param_', (ctx, name) => ctx.route && captured(ctx.route.matchedUri, ctx.request.path).get(name)],
]

/** The value of a variable now; undefined when it has none, or when there is no such variable. */
export function variable(ctx: Context, name: string): Variable {
  const get = getters.get(name)
  if (get !== undefined) return get(ctx)
  for (const [prefix, getRest] of prefixes) {
    if (name.startsWith(prefix)) return getRest(ctx, name.slice(prefix.length))
  }
  return undefined
}

/** Whether there is such a variable, whatever its value. */
export function isVariable(name: string): boolean {
  return getters.has(name) || prefixes.some(([prefix]) => name.startsWith(prefix))
}

/** Who the client says it is (RFC 7617). A name without a password may be a key, and is not told. */
function basicUser(ctx: Context): string | undefined {
  const [, encoded] = /^basic +([\w+/=-]+)$/i.exec(ctx.request.headers.get('authorization') ?? '') ?? []
  if (encoded === undefined) return undefined
  const [, user] = /^([^:]+):./s.exec(Buffer.from(encoded, 'base64').toString()) ?? []
  return user
}

/** What the last attempt said, or would say. */
function upstreamHost(ctx: Context): string | undefined {
  const { outbound, request } = ctx
  return exchange.get(ctx)?.upstream?.host ?? outbound.sent?.host ?? outbound.host ?? request.headers.get('host')
}

/** A field whose name is written with `_` for `-`, in any case. */
function field(headers: Context['request']['headers'], name: string): string | undefined {
  return headers.get(name.replaceAll('_', '-')) ?? headers.get(name)
}

/** What the client sent, believed or not; several fields are one list. */
function original({ request: { headers, disbelieved = [] } }: Context, name: string): string | undefined {
  const dropped = disbelieved.filter(
    (_, at) => at % 2 === 1 && disbelieved[at - 1]!.toLowerCase() === name.toLowerCase(),
  )
  const all = [...headers.all(name), ...dropped]
  return all.length === 0 ? undefined : all.join(', ')
}

function cookie(ctx: Context, name: string): string | undefined {
  for (const line of ctx.request.headers.all('cookie')) {
    for (const pair of line.split(';')) {
      const equals = pair.indexOf('=')
      if (equals >= 0 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim()
    }
  }
  return undefined
}

/** One value per attempt, as nginx lists them; undefined when there was none. */
function joined(ctx: Context, of: (attempt: Attempt) => string | undefined): string | undefined {
  return ctx.attempts.length === 0 ? undefined : ctx.attempts.map(attempt => of(attempt) ?? '-').join(', ')
}

function times(ctx: Context, of: 'connectMs' | 'headerMs' | 'responseMs'): string | undefined {
  return joined(ctx, attempt => (attempt[of] === undefined ? undefined : seconds(attempt[of])))
}

/** Known of an attempt, not of a request that nobody was asked for (facts ai-plugins 18.1). */
function streams(call: Exchange | undefined): boolean {
  return call?.upstream !== undefined && call.requestType === 'ai_stream'
}

/** `a 500 12 reset, b 200 340`: instance, status, milliseconds, and why it did not come to its end. */
function triesOf(call: Exchange | undefined): string | undefined {
  if (call === undefined || call.tries.length === 0) return undefined
  return call.tries
    .map(({ instance, status, ms, reason }) => [instance, status ?? '-', ms ?? '-', reason ?? ''].join(' ').trimEnd())
    .join(', ')
}

/** A model is what the client says it is; only texts and numbers have a text. */
function text(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(3)
}

function nowOf(ctx: Context): Date {
  return new Date(ctx.start + latencyMs(ctx))
}

const two = (n: number): string => String(n).padStart(2, '0')

/** `2026-02-01T10:11:12+01:00` */
export function iso8601(date: Date): string {
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${clock(date)}${zone(date, ':')}`
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** `01/Feb/2026:10:11:12 +0100` */
export function commonLogTime(date: Date): string {
  return `${two(date.getDate())}/${MONTHS[date.getMonth()]}/${date.getFullYear()}:${clock(date)} ${zone(date, '')}`
}

function clock(date: Date): string {
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
}

function zone(date: Date, separator: string): string {
  const minutes = -date.getTimezoneOffset()
  const offset = Math.abs(minutes)
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(offset / 60))}${separator}${two(offset % 60)}`
}
