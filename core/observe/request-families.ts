// APISIX's families about requests and calls to LLMs: names, labels in their order, help (facts core 8.3.13, ai-plugins 19.2).
// Knows not who moves them.
import type { Schema } from '../json-schema.ts'

export interface RequestFamily {
  readonly help: string
  readonly labels: readonly string[]
  /** The label without which its numbers mean nothing: it cannot be disabled. */
  readonly structural?: string
}

const MODELS = ['request_type', 'request_llm_model', 'llm_model']
const WHO = ['service', 'consumer', 'node', ...MODELS]
const WHO_AI = ['route_id', 'service_id', 'consumer', 'node', ...MODELS]
const CACHED = ['route', 'route_id', 'service', 'service_id', 'consumer', 'node', ...MODELS]

const families = {
  http_status: {
    help: 'Requests, by the status of their response',
    labels: ['code', 'route', 'matched_uri', 'matched_host', ...WHO, 'response_source'],
    structural: 'code',
  },
  http_latency: {
    help: 'Milliseconds that requests took: all in all, upstream, and in the gateway',
    labels: ['type', 'route', ...WHO],
    structural: 'type',
  },
  bandwidth: { help: 'Bytes of requests and responses', labels: ['type', 'route', ...WHO], structural: 'type' },
  llm_latency: {
    help: 'Milliseconds until an LLM had answered, and until its first token',
    labels: ['type', ...WHO_AI],
    structural: 'type',
  },
  llm_prompt_tokens: { help: 'Tokens that LLMs were sent', labels: WHO_AI },
  llm_completion_tokens: { help: 'Tokens that LLMs answered', labels: WHO_AI },
  llm_prompt_tokens_dist: { help: 'Tokens that LLMs were sent, by request', labels: WHO_AI },
  llm_completion_tokens_dist: { help: 'Tokens that LLMs answered, by request', labels: WHO_AI },
  llm_active_connections: {
    help: 'Number of active connections to LLM service',
    labels: [
      'route',
      'route_id',
      'matched_uri',
      'matched_host',
      'service',
      'service_id',
      'consumer',
      'node',
      ...MODELS,
    ],
  },
} as const satisfies Record<string, RequestFamily>

export type RequestFamilyName = keyof typeof families

export const requestFamilies: Readonly<Record<RequestFamilyName, RequestFamily>> = families

/** Of a plugin that is not here: the metadata of prometheus may name them all the same. */
const others: Readonly<Record<string, RequestFamily>> = {
  ai_cache_hits_total: { help: '', labels: ['layer', ...CACHED], structural: 'layer' },
  ai_cache_misses_total: { help: '', labels: CACHED },
  ai_cache_bypasses_total: { help: '', labels: CACHED },
  ai_cache_embedding_latency: { help: '', labels: CACHED },
}

/** The metadata of prometheus: labels whose value is to be empty, by family. */
export interface LabelMetadata {
  readonly disabled_labels?: { readonly [family: string]: readonly string[] | undefined }
}

export const labelMetadata = {
  type: 'object',
  properties: {
    disabled_labels: {
      type: 'object',
      properties: Object.fromEntries(
        Object.entries({ ...families, ...others }).map(([name, { labels, structural }]: [string, RequestFamily]) => [
          name,
          { type: 'array', items: { type: 'string', enum: labels.filter(label => label !== structural) } },
        ]),
      ),
      additionalProperties: false,
    },
  },
} as const satisfies Schema

/** Empties the values of labels that the metadata of prometheus disables for a family; undefined metadata disables none. */
export function blank(name: RequestFamilyName, values: string[], metadata: LabelMetadata | undefined): string[] {
  const { labels } = requestFamilies[name]
  for (const label of metadata?.disabled_labels?.[name] ?? []) values[labels.indexOf(label)] = ''
  return values
}
