// prometheus: counts every request of the routes it is on (facts core 8.3.13, ai-plugins 19); the page is printed elsewhere.
import type { Context } from '../core/context.ts'
import { modelLabel } from '../core/llm/active-connections.ts'
import { type Exchange, exchange } from '../core/llm/exchange.ts'
import { type Speed, speeds } from '../core/llm/speed.ts'
import type { LabelSource } from '../core/observe/family-traits.ts'
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
import {
  blank,
  type LabelMetadata,
  labelMetadata,
  type RequestFamilyName,
  requestFamilies,
} from '../core/observe/request-families.ts'
import { plugin } from '../core/plugin.ts'

// Milliseconds.
const LATENCY = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000]
const TOKENS = [
  1, 10, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
]

export default plugin({
  name: 'prometheus',
  priority: 500,
  version: 0.2,
  runPolicy: 'prefer_route',
  schema: {
    type: 'object',
    properties: { prefer_name: { type: 'boolean', default: false } },
  },
  metadata: labelMetadata,
  setup({ prefer_name }, { metrics, metadata }) {
    const rows = metrics.once(openTable).rows(metadata)
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
        if (call !== undefined) recordCall(ctx, call, row.llm, total)
        else rows.attempts(ctx, row)
      },
    }
  },
})

function recordCall(ctx: Context, call: Exchange, row: LlmRow, durationMs: number): void {
  const { timeToFirstTokenMs: firstToken, upstreamMs: total, usage, requestType } = call
  if (firstToken !== undefined && ctx.reply !== undefined && ctx.reply.status < 400) {
    row.total.observe(total ?? 0)
    if (requestType === 'ai_stream') row.firstToken.observe(firstToken)
    row.speed.record(ctx, call, durationMs)
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
  /** Its label. */
  readonly route: string
  readonly status: CounterSeries
  readonly request: HistogramSeries
  readonly upstream: HistogramSeries
  readonly apisix: HistogramSeries
  readonly ingress: CounterSeries
  readonly egress: CounterSeries
  /** An attempt at the node that was answered. */
  readonly answered: CounterSeries
  readonly llm: LlmRow
}

interface LlmRow {
  readonly total: HistogramSeries
  readonly firstToken: HistogramSeries
  readonly prompt: CounterSeries
  readonly completion: CounterSeries
  readonly promptDist: HistogramSeries
  readonly completionDist: HistogramSeries
  readonly speed: Speed
}

/** What the labels of a row are made of: these, and what the sources of extra labels say. */
type Key = readonly [
  requestModel: string,
  model: string,
  status: number,
  route: string,
  matchedUri: string,
  matchedHost: string,
  service: string,
  consumer: string,
  /** An address, or the instance that an LLM call asked. */
  node: string,
  requestType: string,
  source: string,
  ...extra: string[],
]

const FIXED = 11
/** As many as `http_status` has series; then they are found anew. */
const MAX_ROWS = 10_000

/** Rows by their keys, so that a request looks once for all its series. */
class Rows {
  readonly #metrics: Metrics
  readonly #families: Families
  readonly #metadata: LabelMetadata | undefined
  readonly #rows: LabelTree<Row>

  constructor(metrics: Metrics, families: Families, metadata: LabelMetadata | undefined) {
    this.#metrics = metrics
    this.#families = families
    this.#metadata = metadata
    this.#rows = new LabelTree(FIXED + families.sources.length)
  }

  of(ctx: Context, call: Exchange | undefined, preferName: boolean): Row {
    const { route, consumer, reply } = ctx
    const service = route?.service
    const key: [...Key] = [
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
    for (const source of this.#families.sources) key.push(source.of(ctx))
    return this.#rows.find(key) ?? this.#bounded(key)
  }

  /** What clients choose may be another each time: what is kept has few. */
  #bounded(key: Key): Row {
    const [asked, model, ...rest] = key
    const fixed = rest.slice(0, FIXED - 2)
    const extra = this.#families.sources.map((source, at) => source.bounded(String(key[FIXED + at])))
    // As many as before, and each where it was.
    const bounded = [
      modelLabel(asked, this.#metrics),
      modelLabel(model, this.#metrics),
      ...fixed,
      ...extra,
    ] as unknown as Key
    const known = this.#rows.find(bounded)
    if (known !== undefined) return known
    if (this.#rows.size >= MAX_ROWS) this.#rows.clear()
    const row = openRow(this.#families, bounded, this.#metadata)
    this.#rows.plant(bounded, row)
    return row
  }

  /** Every attempt at a node; nearly always there is one, which was answered, and at the node of the row. */
  attempts({ attempts }: Context, row: Row): void {
    for (let at = 0; at < attempts.length; at++) {
      const { address, fault } = attempts[at]!
      if (fault === undefined && at === attempts.length - 1) row.answered.add()
      else this.#families.attempts.add([row.route, nodeOf(address).host, fault ?? 'answered'])
    }
  }

  #text(model: unknown): string {
    return typeof model === 'string' ? model : modelLabel(model, this.#metrics)
  }
}

/** The rows there are with these metrics; those with the newest metadata are asked for again and again. */
class Table {
  readonly #metrics: Metrics
  readonly #families: Families
  #newest: { readonly metadata: string; readonly rows: Rows } | undefined

  constructor(metrics: Metrics) {
    this.#metrics = metrics
    this.#families = openFamilies(metrics)
  }

  rows(metadata: LabelMetadata | undefined): Rows {
    const said = JSON.stringify(metadata?.disabled_labels ?? {})
    if (this.#newest?.metadata !== said)
      this.#newest = { metadata: said, rows: new Rows(this.#metrics, this.#families, metadata) }
    return this.#newest.rows
  }
}

const openTable = (metrics: Metrics): Table => new Table(metrics)

function openRow(families: Families, key: Key, metadata: LabelMetadata | undefined): Row {
  const [asked, model, status, route, uri, host, service, consumer, node, type, source, ...said] = key
  const named = type === 'traditional_http' ? nodeOf(node).host : node
  const who = [service, consumer, named, type, asked, model]
  const mine = [route, ...who]
  const of = <T>(name: RequestFamilyName, { of: open }: Opens<T>, values: string[]): T =>
    open([...blank(name, values, metadata), ...families.extraOf(name).map(at => said[at]!)])
  return {
    route,
    status: of('http_status', families.status, [statusLabel(status), route, uri, host, ...who, source]),
    request: of('http_latency', families.latency, ['request', ...mine]),
    upstream: of('http_latency', families.latency, ['upstream', ...mine]),
    apisix: of('http_latency', families.latency, ['apisix', ...mine]),
    ingress: of('bandwidth', families.bandwidth, ['ingress', ...mine]),
    egress: of('bandwidth', families.bandwidth, ['egress', ...mine]),
    answered: families.attempts.of([route, named, 'answered']),
    llm: {
      total: of('llm_latency', families.llmLatency, ['total', ...mine]),
      firstToken: of('llm_latency', families.llmLatency, ['ttft', ...mine]),
      prompt: of('llm_prompt_tokens', families.promptTokens, [...mine]),
      completion: of('llm_completion_tokens', families.completionTokens, [...mine]),
      promptDist: of('llm_prompt_tokens_dist', families.promptTokensDist, [...mine]),
      completionDist: of('llm_completion_tokens_dist', families.completionTokensDist, [...mine]),
      speed: families.speeds.of([route, node, model]),
    },
  }
}

/** RFC 9110 15: an upstream may say any three digits. */
function statusLabel(status: number): string {
  return status >= 100 && status <= 599 ? String(status) : 'other'
}

interface Opens<T> {
  of(values: readonly string[]): T
}

type Families = ReturnType<typeof openFamilies>

function openFamilies(metrics: Metrics) {
  const sources: LabelSource[] = []
  const extras = new Map<RequestFamilyName, number[]>()
  const known = (name: RequestFamilyName) => {
    const { help, labels } = requestFamilies[name]
    const { extra, buckets } = metrics.traits(name)
    for (const { source } of extra) if (!sources.includes(source)) sources.push(source)
    extras.set(
      name,
      extra.map(({ source }) => sources.indexOf(source)),
    )
    return { help, labels: [...labels, ...extra.map(({ label }) => label)], buckets }
  }
  const counter = (name: RequestFamilyName) => {
    const { help, labels } = known(name)
    return metrics.counter(name, help, labels)
  }
  const histogram = (name: RequestFamilyName, usual: readonly number[]) => {
    const { help, labels, buckets = usual } = known(name)
    return metrics.histogram(name, help, labels, buckets)
  }
  return {
    status: counter('http_status'),
    latency: histogram('http_latency', LATENCY),
    bandwidth: counter('bandwidth'),
    llmLatency: histogram('llm_latency', LATENCY),
    promptTokens: counter('llm_prompt_tokens'),
    completionTokens: counter('llm_completion_tokens'),
    promptTokensDist: histogram('llm_prompt_tokens_dist', TOKENS),
    completionTokensDist: histogram('llm_completion_tokens_dist', TOKENS),
    speeds: speeds(metrics),
    attempts: metrics.counter(
      'sluice_upstream_attempts_total',
      'Attempts at nodes of upstreams, by what became of them',
      ['route', 'node', 'outcome'],
    ),
    /** What says the extra labels of any of them. */
    sources,
    /** Which of the sources say those of a family, in order. */
    extraOf: (name: RequestFamilyName) => extras.get(name) ?? [],
  }
}
