// A scripted collector of traces on a real socket: the spans that have come, read as plainly as tests want them.
import { type Received, type ScriptedUpstream, startUpstream } from './upstream.ts'

export interface ReadSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly traceState?: string
  readonly name: string
  /** 2 is a server's, 3 a client's. */
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly status?: { readonly code: number }
  readonly attributes: Readonly<Record<string, unknown>>
}

export interface Collector extends Omit<ScriptedUpstream, 'script'> {
  /** Of batches that were read whole, in the order in which they came. */
  readonly spans: ReadSpan[]
  /** Attributes of the sender of the last batch. */
  resource: Readonly<Record<string, unknown>>
  /** How batches to come are answered. */
  answer: (received: Received) => unknown
}

type Value = {
  stringValue?: string
  intValue?: string
  doubleValue?: number
  boolValue?: boolean
  arrayValue?: { values: Value[] }
}
type KeyValues = readonly { key: string; value: Value }[]

export async function startCollector(): Promise<Collector> {
  const spans: ReadSpan[] = []
  const upstream = await startUpstream(async received => {
    const batch = JSON.parse((await received.body).toString()) as {
      resourceSpans: {
        resource: { attributes: KeyValues }
        scopeSpans: { spans: (ReadSpan & { attributes: KeyValues })[] }[]
      }[]
    }
    for (const { resource, scopeSpans } of batch.resourceSpans) {
      collector.resource = plain(resource.attributes)
      for (const { spans: some } of scopeSpans)
        spans.push(...some.map(span => ({ ...span, attributes: plain(span.attributes) })))
    }
    return collector.answer(received)
  })
  const collector: Collector = Object.assign(upstream, {
    spans,
    resource: {},
    answer: (received: Received) => received.json(200, {}),
  })
  return collector
}

function plain(attributes: KeyValues): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, plainValue(value)]))
}

function plainValue({ stringValue, intValue, doubleValue, boolValue, arrayValue }: Value): unknown {
  if (intValue !== undefined) return Number(intValue)
  return arrayValue?.values.map(plainValue) ?? stringValue ?? doubleValue ?? boolValue
}
