// prometheus: counts every request of the routes it is on (facts core 8.3.13, ai-plugins 19); the page is printed elsewhere.
import type { Context } from '../core/context.ts'
import { modelLabel } from '../core/llm/active-connections.ts'
import { type Exchange, exchange } from '../core/llm/exchange.ts'
import { LabelTree } from '../core/observe/label-tree.ts'
import {
  lastAddress,
  latencyMs,
  nodeOf,
  requestSize,
  responseSize,
  responseSource,
  upstreamMs,
} from '../core/observe/measures.ts'
import type { CounterSeries, HistogramSeries, Metrics } from '../core/observe/metrics.ts'
import { plugin } from '../core/plugin.ts'

const LATENCY = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000]
const TOKENS = [
  1, 10, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
]
const WHO = ['service', 'consumer', 'node', 'request_type', 'request_llm_model', 'llm_model']
const WHO_AI = ['route_id', 'service_id', ...WHO.slice(1)]

export default plugin({
  name: 'prometheus',
  priority: 500,
  version: 0.2,
  runPolicy: 'prefer_route',
  schema: {
    type: 'object',
    properties: { prefer_name: { type: 'boolean', default: false } },
  },
  setup({ prefer_name }, { metrics }) {
    const rows = metrics.once(openRows)
    return {
      log(ctx) {
        const call = exchange.get(ctx)
        const row = rows.of(ctx, call, prefer_name)
        row.status.add()
        const total = latencyMs(ctx)
        const upstream = upstreamMs(ctx)
        row.request.observe(total)
        if (upstream !== undefined) row.upstream.observe(upstream)
        row.apisix.observe(Math.max(0, total - (upstream ?? 0)))
        row.ingress.add(requestSize(ctx))
        row.egress.add(responseSize(ctx))
        if (call !== undefined) recordCall(ctx, call, row.llm)
      },
    }
  },
})

function recordCall(ctx: Context, call: Exchange, row: LlmRow): void {
  const { timeToFirstTokenMs: firstToken, upstreamMs: total, usage, requestType } = call
  if (firstToken !== undefined && ctx.reply !== undefined && ctx.reply.status < 400) {
    row.total.observe(total ?? 0)
    if (requestType === 'ai_stream') row.firstToken.observe(firstToken)
  }
  const prompt = countOf(usage?.prompt)
  const completion = countOf(usage?.completion)
  row.prompt.add(prompt)
  row.completion.add(completion)
  row.promptDist.observe(prompt)
  row.completionDist.observe(completion)
}

/** What a provider says it has counted may be anything. */
function countOf(tokens: number | undefined): number {
  return tokens !== undefined && Number.isFinite(tokens) && tokens > 0 ? tokens : 0
}

/** Everything that a request with these labels moves. */
interface Row {
  readonly status: CounterSeries
  readonly request: HistogramSeries
  readonly upstream: HistogramSeries
  readonly apisix: HistogramSeries
  readonly ingress: CounterSeries
  readonly egress: CounterSeries
  readonly llm: LlmRow
}

interface LlmRow {
  readonly total: HistogramSeries
  readonly firstToken: HistogramSeries
  readonly prompt: CounterSeries
  readonly completion: CounterSeries
  readonly promptDist: HistogramSeries
  readonly completionDist: HistogramSeries
}

/** What the labels of a row are made of. `node` is an address, or the instance that an LLM call asked. */
type Key = readonly [
  requestModel: string,
  model: string,
  status: number,
  route: string,
  matchedUri: string,
  matchedHost: string,
  service: string,
  consumer: string,
  node: string,
  requestType: string,
  source: string,
]

/** As many as `http_status` has series; then they are found anew. */
const MAX_ROWS = 10_000

/** Rows by their keys, so that a request looks once for all its series. */
class Rows {
  readonly #metrics: Metrics
  readonly #families: Families
  readonly #rows = new LabelTree<Row>(11)

  constructor(metrics: Metrics) {
    this.#metrics = metrics
    this.#families = families(metrics)
  }

  of(ctx: Context, call: Exchange | undefined, preferName: boolean): Row {
    const { route, consumer, reply } = ctx
    const service = route?.service
    const key: Key = [
      this.#text(call?.requestModel),
      this.#text(call?.model),
      reply?.status ?? 499,
      (preferName ? route?.name : undefined) ?? route?.id ?? '',
      route?.matchedUri ?? '',
      route?.matchedHost ?? '',
      (preferName ? service?.name : undefined) ?? service?.id ?? '',
      consumer?.username ?? '',
      call?.instance ?? lastAddress(ctx) ?? '',
      call?.requestType ?? 'traditional_http',
      // A call to an LLM has no nginx between: what is not its answer is ours (facts ai-plugins 19.2).
      call !== undefined && reply?.source !== 'upstream' ? 'apisix' : responseSource(ctx),
    ]
    return this.#rows.find(key) ?? this.#bounded(key)
  }

  /** What clients call a model may be another each time: what is kept has few. */
  #bounded(key: Key): Row {
    const [asked, model, ...rest] = key
    const bounded: Key = [modelLabel(asked, this.#metrics), modelLabel(model, this.#metrics), ...rest]
    const known = this.#rows.find(bounded)
    if (known !== undefined) return known
    if (this.#rows.size >= MAX_ROWS) this.#rows.clear()
    const row = openRow(this.#families, bounded)
    this.#rows.plant(bounded, row)
    return row
  }

  #text(model: unknown): string {
    return typeof model === 'string' ? model : modelLabel(model, this.#metrics)
  }
}

const openRows = (metrics: Metrics): Rows => new Rows(metrics)

function openRow(family: Families, key: Key): Row {
  const [asked, model, status, route, uri, host, service, consumer, node, type, source] = key
  const named = type === 'traditional_http' ? nodeOf(node).host : node
  const who = [service, consumer, named, type, asked, model]
  const mine = [route, ...who]
  return {
    status: family.status.of([statusLabel(status), route, uri, host, ...who, source]),
    request: family.latency.of(['request', ...mine]),
    upstream: family.latency.of(['upstream', ...mine]),
    apisix: family.latency.of(['apisix', ...mine]),
    ingress: family.bandwidth.of(['ingress', ...mine]),
    egress: family.bandwidth.of(['egress', ...mine]),
    llm: {
      total: family.llmLatency.of(['total', ...mine]),
      firstToken: family.llmLatency.of(['ttft', ...mine]),
      prompt: family.promptTokens.of(mine),
      completion: family.completionTokens.of(mine),
      promptDist: family.promptTokensDist.of(mine),
      completionDist: family.completionTokensDist.of(mine),
    },
  }
}

/** RFC 9110 15: an upstream may say any three digits. */
function statusLabel(status: number): string {
  return status >= 100 && status <= 599 ? String(status) : 'other'
}

type Families = ReturnType<typeof families>

function families(metrics: Metrics) {
  return {
    status: metrics.counter('http_status', 'Requests, by the status of their response', [
      'code',
      'route',
      'matched_uri',
      'matched_host',
      ...WHO,
      'response_source',
    ]),
    latency: metrics.histogram(
      'http_latency',
      'Milliseconds that requests took: all in all, upstream, and in the gateway',
      ['type', 'route', ...WHO],
      LATENCY,
    ),
    bandwidth: metrics.counter('bandwidth', 'Bytes of requests and responses', ['type', 'route', ...WHO]),
    llmLatency: metrics.histogram(
      'llm_latency',
      'Milliseconds until an LLM had answered, and until its first token',
      ['type', ...WHO_AI],
      LATENCY,
    ),
    promptTokens: metrics.counter('llm_prompt_tokens', 'Tokens that LLMs were sent', WHO_AI),
    completionTokens: metrics.counter('llm_completion_tokens', 'Tokens that LLMs answered', WHO_AI),
    promptTokensDist: metrics.histogram(
      'llm_prompt_tokens_dist',
      'Tokens that LLMs were sent, by request',
      WHO_AI,
      TOKENS,
    ),
    completionTokensDist: metrics.histogram(
      'llm_completion_tokens_dist',
      'Tokens that LLMs answered, by request',
      WHO_AI,
      TOKENS,
    ),
  }
}
