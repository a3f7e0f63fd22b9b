// What a logger plugin says of a request: APISIX's default entry or a format of the user's (facts core C.1); writes nothing.
import { hostname } from 'node:os'
import type { Context } from '../context.ts'
import { type Exchange, exchange } from '../llm/exchange.ts'
import type { Awaitable } from '../plugin.ts'
import type { HeaderList } from '../reply.ts'
import { type Variable, variable } from '../router/vars.ts'
import { isObject } from '../schema/json.ts'
import { loggedField, redacted, redactedSearch } from './credentials.ts'
import type { JsonBytes } from './json-bytes.ts'
import { loggedVariable } from './logged-variable.ts'
import { gatewayMs, latencyMs, requestSize, responseSize, upstreamMs } from './measures.ts'

/** A body for the log, as much of it as there is; `truncated` when that is not all. */
export interface LoggedBody {
  readonly text: string | undefined
  readonly truncated: boolean
}

/** Bodies that were kept for the log; undefined where nobody asked for them. */
export interface Bodies {
  readonly request: LoggedBody | undefined
  readonly response: LoggedBody | undefined
}

export type Entry = Record<string, unknown>

const MAX_DEPTH = 5
// What APISIX 3.18 calls itself; log pipelines look at it.
const server = { hostname: hostname(), version: '3.18.0' }

// The members of a default entry, which nothing that is added to it replaces.
const OWN: ReadonlySet<string> = new Set([
  'request',
  'response',
  'server',
  'upstream',
  'service_id',
  'route_id',
  'consumer',
  'client_ip',
  'start_time',
  'latency',
  'upstream_latency',
  'apisix_latency',
])
const serverText = JSON.stringify(server)

export interface LineParts {
  bodies: Bodies
  /** Members beside the entry's own. */
  more: Entry
  /** The `route_id` of a request that no route matched. */
  unmatched?: string | undefined
}

/**
 * The line of a logger without `log_format`: an object of JSON, with what of `more` the entry has no member for. Values of
 * known credentials are not in it.
 */
export function putDefaultLine(line: JsonBytes, ctx: Context, { bodies, more, unmatched }: LineParts): void {
  const { request, consumer, reply } = ctx
  const search = redactedSearch(ctx)
  const uri = request.path + (search === '' ? '' : `?${search}`)
  line.raw('{"request":{"url":')
  line.quoted(`${request.scheme}://${request.host}:${request.serverPort}${uri}`)
  line.raw(',"uri":')
  line.quoted(uri)
  line.raw(',"method":')
  line.quoted(request.method)
  line.raw(',"headers":')
  putFields(line, ctx, request.headers)
  line.raw(',"querystring":')
  line.raw(search === '' ? '{}' : JSON.stringify(redacted(ctx, queryArguments(ctx))))
  putNumber(line, ',"size":', requestSize(ctx))
  putBody(line, bodies.request)
  putNumber(line, '},"response":{"status":', reply?.status ?? 0)
  line.raw(',"headers":')
  if (reply === undefined) line.raw('{}')
  else putFields(line, ctx, reply.headers)
  putNumber(line, ',"size":', responseSize(ctx))
  putBody(line, bodies.response)
  line.raw('},"server":')
  line.raw(serverText)
  const asked = variable(ctx, 'upstream_addr')
  putText(line, ',"upstream":', asked === undefined ? undefined : String(asked))
  const { service_id = request.host, route_id } = identity(ctx, unmatched)
  putText(line, ',"service_id":', service_id)
  putText(line, ',"route_id":', route_id)
  if (consumer !== undefined) {
    putText(line, ',"consumer":{"username":', consumer.username)
    line.raw('}')
  }
  putText(line, ',"client_ip":', request.remoteAddress)
  putNumber(line, ',"start_time":', ctx.start)
  putNumber(line, ',"latency":', latencyMs(ctx))
  putNumber(line, ',"upstream_latency":', upstreamMs(ctx))
  putNumber(line, ',"apisix_latency":', gatewayMs(ctx))
  for (const [name, value] of Object.entries(more)) {
    const json = OWN.has(name) ? undefined : JSON.stringify(value)
    if (json === undefined) continue
    line.raw(',')
    line.quoted(name)
    line.raw(':')
    line.raw(json)
  }
  line.raw('}')
}

/** A member's name as it stands in the line, and its value; nothing where there is none. */
function putText(line: JsonBytes, name: string, value: string | undefined): void {
  if (value === undefined) return
  line.raw(name)
  line.quoted(value)
}

function putNumber(line: JsonBytes, name: string, value: number | undefined): void {
  if (value === undefined) return
  line.raw(name)
  line.raw(String(value))
}

// Up to so many fields it is cheaper to compare their names than to collect them.
const FEW = 64

/** Fields by lower-case name, repeated ones joined as HeaderList.toObject does. */
function putFields(line: JsonBytes, ctx: Context, headers: HeaderList): void {
  const names: string[] = []
  const { raw } = headers
  const from = line.length
  line.raw('{')
  for (let at = 0; at < raw.length; at += 2) {
    const lower = raw[at]!.toLowerCase()
    if (names.length === FEW || names.includes(lower)) {
      line.rewind(from)
      return line.raw(
        JSON.stringify(
          Object.fromEntries(
            Object.entries(headers.toObject()).map(([name, value]) => [name, loggedField(ctx, name, value)]),
          ),
        ),
      )
    }
    if (names.length > 0) line.raw(',')
    line.quoted(lower)
    line.raw(':')
    line.quoted(loggedField(ctx, lower, raw[at + 1]!))
    names.push(lower)
  }
  line.raw('}')
}

function putBody(line: JsonBytes, body: LoggedBody | undefined): void {
  if (body === undefined) return
  putText(line, ',"body":', body.text)
  if (body.truncated) line.raw(',"body_truncated":true')
}

/** What every entry is found by. */
export function identity({ route }: Context, unmatched?: string): { route_id?: string; service_id?: string } {
  if (route !== undefined) return { service_id: route.service?.id ?? '', route_id: route.id }
  return unmatched === undefined ? {} : { route_id: unmatched }
}

/** What a logger may ask for: the request's variables, by default as logs may have them, and the kept bodies. */
export function lookup(ctx: Context, bodies: Bodies, read = loggedVariable): (name: string) => Variable {
  return name => {
    if (name === 'request_body') return bodies.request?.text
    if (name === 'resp_body') return bodies.response?.text
    return read(ctx, name)
  }
}

/** A `log_format`, read once: texts that begin with `$` are variables, everything else is what it is. */
export type LogFormat = (get: (name: string) => Variable) => Entry

/** Reads a format of at most five levels; see `checkLogFormat`. */
export function compileLogFormat(format: Readonly<Record<string, unknown>>): LogFormat {
  const fields = Object.entries(format).map(([key, value]) => [key, compileValue(value)] as const)
  return get => {
    const entry: Entry = {}
    for (const [key, read] of fields) {
      const value = read(get)
      if (value !== undefined) entry[key] = value
    }
    return entry
  }
}

function compileValue(value: unknown): (get: (name: string) => Variable) => unknown {
  if (typeof value === 'string' && value.startsWith('$')) {
    const name = value.slice(1)
    return get => get(name)
  }
  if (isObject(value)) return compileLogFormat(value)
  return () => value
}

/** What is wrong with a format, or nothing. */
export function checkLogFormat(format: unknown, depth = 1): string | undefined {
  if (!isObject(format)) return undefined
  if (depth > MAX_DEPTH) return `log_format is nested deeper than ${MAX_DEPTH} levels`
  for (const value of Object.values(format)) {
    const problem = checkLogFormat(value, depth + 1)
    if (problem !== undefined) return problem
  }
  return undefined
}

/** Whether a format has that variable in it. */
export function formatAsksFor(format: unknown, name: string): boolean {
  if (isObject(format)) return Object.values(format).some(value => formatAsksFor(value, name))
  return format === `$${name}`
}

/** What `logging` of an AI plugin adds to every entry (facts ai-plugins 18.3). */
export function llmFields(ctx: Context): Awaitable<Entry> {
  const call = exchange.get(ctx)
  const summary = call?.logging.summaries ? { llm_summary: llmSummary(ctx, call) } : {}
  if (!call?.logging.payloads) return summary
  const { requestType, responseText } = call
  const withPayloads = (request: unknown): Entry => {
    const { messages, input } = request as Entry
    return {
      ...summary,
      llm_request: { messages: messages ?? input, stream: requestType === 'ai_stream' },
      ...(responseText !== undefined && { llm_response_text: { content: responseText } }),
    }
  }
  return ctx.body.json(Number.POSITIVE_INFINITY).then(withPayloads, () => summary)
}

function llmSummary(ctx: Context, call: Exchange): Entry {
  const get = (name: string) => variable(ctx, name)
  return {
    request_model: get('request_llm_model'),
    model: get('llm_model'),
    duration: get('llm_time_to_first_token'),
    prompt_tokens: get('llm_prompt_tokens'),
    completion_tokens: get('llm_completion_tokens'),
    total_tokens: get('llm_total_tokens'),
    upstream_response_time: get('apisix_upstream_response_time'),
    stream: get('llm_stream'),
    tool_count: get('llm_tool_count'),
    has_tool_calls: get('llm_has_tool_calls'),
    end_user_id: get('llm_end_user_id'),
    cache_read_input_tokens: get('llm_cache_read_input_tokens'),
    cache_creation_input_tokens: get('llm_cache_creation_input_tokens'),
    reasoning_tokens: get('llm_reasoning_tokens'),
    content_risk_level: get('llm_content_risk_level'),
    // Ours: there when the answer did not come to its end.
    cut_by: get('llm_cut_by'),
    // Ours: where there was a choice, each that was asked, and who could have been.
    ...(call.choices.length > 0 && { attempts: call.tries, candidates: call.choices }),
  }
}

/** Arguments by name; repeated ones as a list. */
function* queryArguments(ctx: Context): Iterable<[string, string | readonly string[]]> {
  for (const [name, values] of ctx.request.queryAll()) yield [name, values.length === 1 ? values[0]! : values]
}
