// prometheus: counts every request of the routes it is on (facts core 8.3.13, ai-plugins 19); the page is printed elsewhere.
import type { Context } from '../core/context.ts'
import { modelLabel } from '../core/llm/active-connections.ts'
import { exchange } from '../core/llm/exchange.ts'
import {
  gatewayMs,
  lastNode,
  latencyMs,
  requestSize,
  responseSize,
  responseSource,
  upstreamMs,
} from '../core/observe/measures.ts'
import type { Metrics } from '../core/observe/metrics.ts'
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
    const family = families(metrics)

    function recordCall(ctx: Context, labels: readonly string[]): void {
      const call = exchange.get(ctx)
      if (call === undefined) return
      const { timeToFirstTokenMs: firstToken, upstreamMs: total, usage, requestType } = call
      if (firstToken !== undefined && ctx.reply !== undefined && ctx.reply.status < 400) {
        family.llmLatency.observe(['total', ...labels], total ?? 0)
        if (requestType === 'ai_stream') family.llmLatency.observe(['ttft', ...labels], firstToken)
      }
      const prompt = countOf(usage?.prompt)
      const completion = countOf(usage?.completion)
      family.promptTokens.add(labels, prompt)
      family.completionTokens.add(labels, completion)
      family.promptTokensDist.observe(labels, prompt)
      family.completionTokensDist.observe(labels, completion)
    }

    return {
      log(ctx) {
        const { route, consumer, reply } = ctx
        const service = route?.service
        const call = exchange.get(ctx)
        const routeLabel = (prefer_name ? route?.name : undefined) ?? route?.id ?? ''
        const who = [
          (prefer_name ? service?.name : undefined) ?? service?.id ?? '',
          consumer?.username ?? '',
          call?.instance ?? lastNode(ctx)?.host ?? '',
          call?.requestType ?? 'traditional_http',
          modelLabel(call?.requestModel, metrics),
          modelLabel(call?.model, metrics),
        ]
        const where = [routeLabel, route?.matchedUri ?? '', route?.matchedHost ?? '']
        // A call to an LLM has no nginx between: what is not its answer is ours (facts ai-plugins 19.2).
        const source = call !== undefined && reply?.source !== 'upstream' ? 'apisix' : responseSource(ctx)
        family.status.add([String(reply?.status ?? 499), ...where, ...who, source])
        family.latency.observe(['request', routeLabel, ...who], latencyMs(ctx))
        const upstream = upstreamMs(ctx)
        if (upstream !== undefined) family.latency.observe(['upstream', routeLabel, ...who], upstream)
        family.latency.observe(['apisix', routeLabel, ...who], gatewayMs(ctx))
        family.bandwidth.add(['ingress', routeLabel, ...who], requestSize(ctx))
        family.bandwidth.add(['egress', routeLabel, ...who], responseSize(ctx))
        recordCall(ctx, [routeLabel, ...who])
      },
    }
  },
})

function families(metrics: Metrics) {
  return {
    status: metrics.counter('http_status', 'HTTP status codes per service', [
      'code',
      'route',
      'matched_uri',
      'matched_host',
      ...WHO,
      'response_source',
    ]),
    latency: metrics.histogram(
      'http_latency',
      'HTTP request latency in milliseconds',
      ['type', 'route', ...WHO],
      LATENCY,
    ),
    bandwidth: metrics.counter('bandwidth', 'Total bandwidth in bytes', ['type', 'route', ...WHO]),
    llmLatency: metrics.histogram('llm_latency', 'LLM request latency in milliseconds', ['type', ...WHO_AI], LATENCY),
    promptTokens: metrics.counter('llm_prompt_tokens', 'LLM service consumed prompt tokens', WHO_AI),
    completionTokens: metrics.counter('llm_completion_tokens', 'LLM service consumed completion tokens', WHO_AI),
    promptTokensDist: metrics.histogram(
      'llm_prompt_tokens_dist',
      'LLM prompt tokens distribution per request',
      WHO_AI,
      TOKENS,
    ),
    completionTokensDist: metrics.histogram(
      'llm_completion_tokens_dist',
      'LLM completion tokens distribution per request',
      WHO_AI,
      TOKENS,
    ),
  }
}

/** What a provider says it has counted may be anything. */
function countOf(tokens: number | undefined): number {
  return tokens !== undefined && Number.isFinite(tokens) && tokens > 0 ? tokens : 0
}
