// Trace context in header fields, read and written: W3C Trace Context and both forms of Zipkin's B3; knows no span.
import type { HeaderList } from '../../reply.ts'

/** As OTEL_PROPAGATORS calls them. */
export type Propagator = 'tracecontext' | 'b3' | 'b3multi'

export const propagators = ['tracecontext', 'b3', 'b3multi'] as const satisfies readonly Propagator[]

/** What the sender of a request says of the trace that it belongs to. */
export interface Incoming {
  readonly by: Propagator
  /** 32 hexadecimal digits in lower case, not all zero; undefined where only the decision about sampling was sent. */
  readonly traceId: string | undefined
  /** The sender's span: 16 digits. */
  readonly spanId: string | undefined
  /** Undefined where the sender has not decided. */
  readonly sampled: boolean | undefined
  /** B3 only: record it whatever the sampler says, and tell everybody. */
  readonly debug?: boolean
}

/** A span as the next in line is told of it. */
export interface Outgoing {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly sampled: boolean
  readonly debug?: boolean | undefined
}

// https://www.w3.org/TR/trace-context/#traceparent-header: what later versions add stands behind a dash.
const TRACEPARENT = /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/
const ZEROS = /^0+$/

/** The first of `forms` by which the sender says something that makes sense. */
export function readIncoming(headers: HeaderList, forms: readonly Propagator[]): Incoming | undefined {
  for (const form of forms) {
    const incoming = readers[form](headers)
    if (incoming !== undefined) return incoming
  }
  return undefined
}

const readers: Readonly<Record<Propagator, (headers: HeaderList) => Incoming | undefined>> = {
  tracecontext(headers) {
    const [text, second] = headers.all('traceparent')
    if (text === undefined || second !== undefined) return undefined
    const [, version, traceId = '', spanId = '', flags = '', more] = TRACEPARENT.exec(text.trim()) ?? []
    if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return undefined
    if (ZEROS.test(traceId) || ZEROS.test(spanId)) return undefined
    return { by: 'tracecontext', traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 }
  },
  b3(headers) {
    const text = headers.get('b3')
    if (text === undefined) return undefined
    const [first = '', spanId, sampled] = text.split('-')
    if (spanId === undefined) return incomingB3('b3', undefined, undefined, first)
    return incomingB3('b3', first, spanId, sampled)
  },
  b3multi: headers =>
    incomingB3(
      'b3multi',
      headers.get('x-b3-traceid'),
      headers.get('x-b3-spanid'),
      headers.get('x-b3-flags') === '1' ? 'd' : headers.get('x-b3-sampled'),
    ),
}

/** https://github.com/openzipkin/b3-propagation */
function incomingB3(
  by: 'b3' | 'b3multi',
  trace: string | undefined,
  span: string | undefined,
  decision: string | undefined,
): Incoming | undefined {
  const sampled = decisions[decision ?? '']
  const debug = decision === 'd'
  if (trace === undefined || span === undefined) {
    return sampled === undefined ? undefined : { by, traceId: undefined, spanId: undefined, sampled, debug }
  }
  const [traceId, spanId] = [trace.toLowerCase(), span.toLowerCase()]
  if (!/^([\da-f]{16}|[\da-f]{32})$/.test(traceId) || !/^[\da-f]{16}$/.test(spanId)) return undefined
  if (ZEROS.test(traceId) || ZEROS.test(spanId)) return undefined
  return { by, traceId: traceId.padStart(32, '0'), spanId, sampled, debug }
}

const decisions: Readonly<Record<string, boolean>> = { '0': false, '1': true, false: false, true: true, d: true }

export function traceparent({ traceId, spanId, sampled }: Outgoing): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`
}

/** Puts the span into the fields of `form`, in the place of whoever stood there. */
export function writeOutgoing(headers: HeaderList, form: Propagator, span: Outgoing): void {
  const { traceId, spanId, parentSpanId, sampled, debug } = span
  if (form === 'tracecontext') headers.set('traceparent', traceparent(span))
  else if (form === 'b3') {
    const parent = parentSpanId === undefined ? '' : `-${parentSpanId}`
    headers.set('b3', `${traceId}-${spanId}-${debug ? 'd' : Number(sampled)}${parent}`)
  } else {
    headers.set('X-B3-TraceId', traceId)
    headers.set('X-B3-SpanId', spanId)
    if (parentSpanId === undefined) headers.delete('x-b3-parentspanid')
    else headers.set('X-B3-ParentSpanId', parentSpanId)
    // The flag says it, and stands there already.
    if (debug) headers.delete('x-b3-sampled')
    else headers.set('X-B3-Sampled', String(Number(sampled)))
  }
}

const FIELDS = [
  'traceparent',
  'tracestate',
  'baggage',
  'b3',
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-parentspanid',
  'x-b3-sampled',
  'x-b3-flags',
]

/** Takes every field of a trace away. */
export function dropTrace(headers: HeaderList): void {
  for (const field of FIELDS) headers.delete(field)
}
