// What may be configured of the plugin opentelemetry, and of its metadata (facts core 8.3.22); traces nothing.
import { hostname } from 'node:os'
import { checkHeaders, checkSinkUrl } from '../../core/observe/http-sink.ts'
import type { CollectorSettings } from '../../core/observe/trace/exporter.ts'
import { propagators } from '../../core/observe/trace/propagation.ts'
import type { Infer, Schema } from '../../core/plugin.ts'
import { contentAttributes } from './gen-ai.ts'

const always = ['always_on', 'always_off', 'trace_id_ratio'] as const
const fraction = { type: 'number', default: 0 } as const
const nonEmpty = { type: 'string', minLength: 1 } as const

export const schema = {
  type: 'object',
  properties: {
    sampler: {
      type: 'object',
      properties: {
        name: { type: 'string', enum: [...always, 'parent_base'], default: 'always_off' },
        options: {
          type: 'object',
          properties: {
            fraction,
            root: {
              type: 'object',
              properties: {
                name: { type: 'string', enum: always, default: 'always_off' },
                options: { type: 'object', properties: { fraction }, default: { fraction: 0 } },
              },
              default: { name: 'always_off', options: { fraction: 0 } },
            },
          },
          default: { fraction: 0, root: { name: 'always_off' } },
        },
      },
      default: { name: 'always_off', options: { fraction: 0, root: { name: 'always_off' } } },
    },
    additional_attributes: { type: 'array', items: nonEmpty },
    additional_header_prefix_attributes: { type: 'array', items: nonEmpty },
    // Ours: the forms of trace context that are read and written.
    propagators: { type: 'array', minItems: 1, uniqueItems: true, items: { type: 'string', enum: propagators } },
    // Ours: a provider is somebody else.
    propagate_to_llm: { type: 'boolean', default: true },
    // Ours, in the place of `apisix.tracing`, which is for all routes or none: a span of each phase.
    phases: { type: 'boolean', default: false },
    // Ours: what was asked and what was answered is in no span unless it is asked for.
    capture_content: {
      type: 'object',
      properties: {
        input: { type: 'boolean', default: false },
        output: { type: 'boolean', default: false },
        max_characters: { type: 'integer', minimum: 1, maximum: 262_144, default: 16_384 },
      },
      default: {},
    },
  },
} as const satisfies Schema

const scalar = { type: ['boolean', 'number', 'string'] } as const

export const metadata = {
  type: 'object',
  properties: {
    trace_id_source: { type: 'string', enum: ['x-request-id', 'random'], default: 'random' },
    resource: { type: 'object', additionalProperties: scalar },
    collector: {
      type: 'object',
      properties: {
        address: { type: 'string', default: '127.0.0.1:4318' },
        request_timeout: { type: 'integer', minimum: 1, default: 3 },
        request_headers: { type: 'object', additionalProperties: scalar },
      },
      default: { address: '127.0.0.1:4318', request_timeout: 3 },
    },
    batch_span_processor: {
      type: 'object',
      properties: {
        drop_on_queue_full: { type: 'boolean' },
        max_queue_size: { type: 'integer', minimum: 1, default: 2048 },
        batch_timeout: { type: 'number', exclusiveMinimum: 0, default: 5 },
        inactive_timeout: { type: 'number', exclusiveMinimum: 0, default: 2 },
        max_export_batch_size: { type: 'integer', minimum: 1, default: 256 },
      },
      default: {},
    },
    set_ngx_var: { type: 'boolean', default: false },
  },
} as const satisfies Schema

export type TraceMetadata = Infer<typeof metadata>

/** Where batches are posted to: a host and a port, perhaps with a scheme and a path, are where `/v1/traces` is. */
function urlOf(address: string): string {
  return `${originOf(address).replace(/\/$/, '')}/v1/traces`
}

function originOf(address: string): string {
  return address.includes('://') ? address : `http://${address}`
}

/** What is wrong with metadata that the schema cannot say, or nothing; does not show what may be a secret. */
export function metadataProblem({ collector }: TraceMetadata): string | undefined {
  const { address, request_headers } = collector
  const problem = /[?#\s]/.test(address) ? 'a query is no part of it' : checkSinkUrl(originOf(address))
  return problem === undefined ? checkHeaders(request_headers) : `collector.address: ${problem}`
}

/** Where the spans go. */
export function collectorOf({
  collector,
  resource = {},
  batch_span_processor: batch,
}: TraceMetadata): CollectorSettings {
  const { address, request_timeout, request_headers = {} } = collector
  return {
    url: urlOf(address),
    headers: Object.fromEntries(Object.entries(request_headers).map(([field, value]) => [field, String(value)])),
    timeoutMs: request_timeout * 1000,
    resource: Object.entries({ hostname: hostname(), 'service.name': 'APISIX', ...resource }) as [string, string][],
    maxQueue: batch.max_queue_size,
    maxBatch: batch.max_export_batch_size,
    batchMs: batch.batch_timeout * 1000,
    inactiveMs: batch.inactive_timeout * 1000,
    whole: contentAttributes,
  }
}
