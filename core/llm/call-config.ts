// What an operator says of calls, whichever provider is asked (facts ai-plugins 6.1): the schema, limits, and where they are counted.
import type { Infer, Schema } from '../json-schema.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { LabelMetadata } from '../observe/request-families.ts'
import type { Transport } from '../proxy/transport.ts'
import { activeConnections } from './active-connections.ts'
import type { CallLimits } from './attempt.ts'
import type { CallServices } from './attempt-books.ts'

const milliseconds = { type: 'integer', minimum: 0 } as const

export const callProperties = {
  logging: {
    type: 'object',
    properties: {
      summaries: { type: 'boolean', default: false },
      payloads: { type: 'boolean', default: false },
    },
  },
  timeout: { type: 'integer', minimum: 1, maximum: 600_000, default: 30_000 },
  // Ours: each clock by itself, in milliseconds, 0 for none. What is not said is `timeout`; for `first_content` ten minutes,
  // for `total` no limit.
  timeouts: {
    type: 'object',
    properties: {
      connect: milliseconds,
      headers: milliseconds,
      first_content: milliseconds,
      idle: milliseconds,
      total: milliseconds,
    },
    additionalProperties: false,
  },
  max_req_body_size: { type: 'integer', minimum: 1, default: 67_108_864 },
  max_stream_duration_ms: { type: 'integer', minimum: 1 },
  max_response_bytes: { type: 'integer', minimum: 1 },
  keepalive: { type: 'boolean', default: true },
  keepalive_timeout: { type: 'integer', minimum: 1000, default: 60_000 },
  keepalive_pool: { type: 'integer', minimum: 1, default: 30 },
  streaming_flush_interval_ms: { type: 'integer', minimum: 0, default: 10 },
  ssl_verify: { type: 'boolean', default: true },
  // Ours: `safe` sends a provider nothing of a client by which it could be known.
  forward_headers: { enum: ['all', 'safe'], default: 'all' },
} as const satisfies Record<string, Schema>

export type CallConfig = Infer<{ readonly type: 'object'; readonly properties: typeof callProperties }>

/** As long as `timeout` may be at most. */
const FIRST_CONTENT_MS = 600_000

export function callLimits({ timeout, timeouts, max_stream_duration_ms, max_response_bytes }: CallConfig): CallLimits {
  return {
    clocks: {
      connect: timeouts?.connect ?? timeout,
      send: timeouts?.headers ?? timeout,
      headers: timeouts?.headers ?? timeout,
      // A model may think for long while it pings; what sends nothing at all is ended by `idle`.
      firstContent: timeouts?.first_content ?? FIRST_CONTENT_MS,
      idle: timeouts?.idle ?? timeout,
      total: timeouts?.total ?? 0,
    },
    maxStreamMs: max_stream_duration_ms ?? 0,
    maxResponseBytes: max_response_bytes,
  }
}

/** What calls need of an Env. */
export interface CallEnv {
  readonly transport: Transport
  readonly metrics: Metrics
  metadataOf(plugin: string): unknown
}

/** The gauge of calls under way, and the counters of all and of those that were cut. */
export function callServices({ transport, metrics, metadataOf }: CallEnv): CallServices {
  const cut = metrics.counter('sluice_llm_cut_total', 'Attempts at an LLM that did not come to their end', [
    'route_id',
    'node',
    'reason',
  ])
  const attempts = metrics.counter('sluice_llm_attempts_total', 'Attempts at an LLM', ['route_id', 'node'])
  // The metadata has passed prometheus's schema.
  const enter = activeConnections(metrics, metadataOf('prometheus') as LabelMetadata | undefined)
  return {
    transport,
    enter(ctx, call) {
      attempts.add([ctx.route?.id ?? '', call.instance])
      return enter(ctx, call)
    },
    cut: (ctx, { instance }, reason) => cut.add([ctx.route?.id ?? '', instance, reason]),
  }
}
