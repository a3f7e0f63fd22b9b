// opentelemetry: traces requests, tells those who come after of the trace, and sends spans to a collector (facts core 8.3.22).
import { type Context, slot } from '../../core/context.ts'
import type { Metrics } from '../../core/observe/metrics.ts'
import { type SpanExporter, Tracing } from '../../core/observe/trace/exporter.ts'
import { propagators, readIncoming } from '../../core/observe/trace/propagation.ts'
import { type SamplerConfig, samplerOf } from '../../core/observe/trace/sampler.ts'
import { requestTrace } from '../../core/observe/trace.ts'
import { plugin } from '../../core/plugin.ts'
import { collectorOf, metadata, metadataProblem, schema } from './config.ts'
import { extraAttributes } from './http-attributes.ts'
import { RequestSpans } from './request-spans.ts'

/** What this plugin keeps of a request, and which of its uses does: a trace has one span of ours, not one of each use. */
const recorded = slot<{ readonly spans: RequestSpans; readonly by: object }>()

const openTracing = (metrics: Metrics) => new Tracing(metrics)

const REQUEST_ID = /^(?!0{32})[\da-f]{32}$/i

export default plugin({
  name: 'opentelemetry',
  priority: 12009,
  version: 0.1,
  schema,
  metadata,
  checkMetadata: metadataProblem,
  encrypt: ['collector.request_headers'],
  setup(config, env) {
    const { metadata: settings, metrics, log, owner, transport, random } = env
    if (settings === undefined) {
      log.warn({ plugin: 'opentelemetry', owner }, 'nothing is traced: the plugin has no metadata')
      return {}
    }
    if (settings.batch_span_processor.drop_on_queue_full === false)
      log.warn({ plugin: 'opentelemetry', owner }, 'drop_on_queue_full has no effect: no request waits for a collector')
    const tracing = metrics.once(openTracing)
    const sample = samplerOf(config.sampler as SamplerConfig)
    const extra = extraAttributes(config.additional_attributes, config.additional_header_prefix_attributes)
    const read = config.propagators ?? propagators
    const by = {}
    // A dry run makes instances that never trace.
    let exporter: SpanExporter | undefined

    function traceIdOf(ctx: Context): string {
      const id = settings?.trace_id_source === 'x-request-id' ? ctx.request.headers.get('x-request-id') : undefined
      return id !== undefined && REQUEST_ID.test(id) ? id.toLowerCase() : tracing.ids.trace()
    }

    return {
      rewrite(ctx) {
        // A global rule and a route may both trace: the first does.
        if (requestTrace.get(ctx) !== undefined) return
        const { headers } = ctx.request
        const incoming = readIncoming(headers, read)
        const traceId = incoming?.traceId ?? traceIdOf(ctx)
        const traceState = incoming?.by === 'tracecontext' ? headers.get('tracestate') : undefined
        // It belongs to a traceparent, and there is none that makes sense.
        if (traceState === undefined && read.includes('tracecontext')) headers.delete('tracestate')
        const inKind = incoming === undefined || incoming.by === 'tracecontext' ? [] : [incoming.by]
        const spans = new RequestSpans({
          ids: tracing.ids,
          traceId,
          incoming,
          traceState,
          sampled: sample(traceId, incoming),
          forms: config.propagators ?? ['tracecontext', ...inKind],
          toLlm: config.propagate_to_llm,
          capture: config.capture_content,
          phases: config.phases,
          shows: settings.set_ngx_var,
        })
        spans.announce(ctx)
        requestTrace.set(ctx, spans)
        recorded.set(ctx, { spans, by })
      },
      log(ctx) {
        const own = recorded.get(ctx)
        if (own?.by !== by || !own.spans.sampled) return
        exporter ??= tracing.exporter(collectorOf(settings), { log, lookup: transport.lookup, random })
        for (const span of own.spans.spans(ctx, extra(ctx))) exporter.export(span)
      },
      close: async () => exporter?.release(),
    }
  },
})
