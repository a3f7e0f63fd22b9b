// The gauge of calls to LLMs that are under way, and models as labels (facts ai-plugins 19.2); knows not when a call ends.
import type { Context } from '../context.ts'
import { short } from '../observe/client-values.ts'
import type { Metrics } from '../observe/metrics.ts'
import { blank, type LabelMetadata, requestFamilies } from '../observe/request-families.ts'
import type { Exchange } from './exchange.ts'

const NAME = 'llm_active_connections'

/** Counts a call as under way until the returned function is called; `metadata` is that of prometheus. */
export function activeConnections(
  metrics: Metrics,
  metadata: LabelMetadata | undefined,
): (ctx: Context, call: Exchange) => () => void {
  const { help, labels } = requestFamilies[NAME]
  const { extra } = metrics.traits(NAME)
  const gauge = metrics.liveGauge(NAME, help, [...labels, ...extra.map(({ label }) => label)])
  return (ctx, call) =>
    gauge.enter([
      ...blank(NAME, labelsOf(ctx, call, metrics), metadata),
      ...extra.map(({ source }) => source.bounded(source.of(ctx))),
    ])
}

/** Values in the order of the labels; what is not known is the empty string. */
function labelsOf({ route, consumer }: Context, call: Exchange, metrics: Pick<Metrics, 'bounded'>): string[] {
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

/** A model as a label: clients choose it, so it is cut to 128 bytes, at a character's end, and one of a hundred. */
export function modelLabel(model: unknown, metrics: Pick<Metrics, 'bounded'>): string {
  if (model === undefined || model === null) return ''
  return typeof model === 'object' ? '<non-scalar>' : metrics.bounded('llm_model', short(String(model)))
}
