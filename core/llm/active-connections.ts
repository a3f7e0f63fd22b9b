// The gauge of calls to LLMs that are under way: its name and labels (facts ai-plugins 19.2); knows no registry.
import type { Context } from '../context.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Exchange } from './exchange.ts'

export const activeConnections = {
  name: 'llm_active_connections',
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
    'request_type',
    'request_llm_model',
    'llm_model',
  ],
} as const

/** Values in the order of the labels; what is not known is the empty string. */
export function activeConnectionLabels(ctx: Context, call: Exchange, metrics: Pick<Metrics, 'bounded'>): string[] {
  const { route, consumer } = ctx
  return [
    route?.name ?? '',
    route?.id ?? '',
    route?.matchedUri ?? '',
    route?.matchedHost ?? '',
    route?.service?.name ?? '',
    route?.service?.id ?? '',
    consumer?.username ?? '',
    call.instance,
    call.requestType,
    modelLabel(call.requestModel, metrics),
    modelLabel(call.model, metrics),
  ]
}

const longestLabel = 128

/** A model as a label: clients choose it, so it is cut to 128 bytes, at a character's end, and one of a hundred. */
export function modelLabel(model: unknown, metrics: Pick<Metrics, 'bounded'>): string {
  if (model === undefined || model === null) return ''
  if (typeof model === 'object') return '<non-scalar>'
  const text = String(model)
  // Three bytes is the most that a UTF-16 unit takes in UTF-8.
  const fits = text.length * 3 <= longestLabel
  return metrics.bounded(
    'llm_model',
    fits ? text : text.slice(0, encoder.encodeInto(text, new Uint8Array(longestLabel)).read),
  )
}

const encoder = new TextEncoder()
