// Spans as OTLP has them in JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding); knows no collector.
import type { Framing } from '../batches.ts'
import type { JsonBytes } from '../json-bytes.ts'
import type { Attributes, AttributeValue, Span } from './span.ts'

const KINDS = { internal: 1, server: 2, client: 3 }
const FAILED = 2

/** Characters of one value: a client may send a field of 30 KiB. */
const MAX_TEXT = 4_096

/** What stands around the spans of a batch: who sends them. */
export function batchOf(resource: Attributes, scope: { name: string; version: string }): Framing {
  const attributes = resource.flatMap(([key, value]) => (value === undefined ? [] : { key, value: otlpValue(value) }))
  const begin = `{"resourceSpans":[{"resource":${JSON.stringify({ attributes })},"scopeSpans":[{"scope":${JSON.stringify(scope)},"spans":[`
  return { begin, between: ',', end: ']}]}]}' }
}

/** Texts of more than 4,096 characters are cut; `whole` names attributes that have a limit of their own. */
export function putSpan(line: JsonBytes, span: Span, whole: ReadonlySet<string>): void {
  const { traceId, spanId, parentSpanId, traceState, name, kind, start, end, attributes, failed } = span
  line.raw(`{"traceId":"${traceId}","spanId":"${spanId}"`)
  if (parentSpanId !== undefined) line.raw(`,"parentSpanId":"${parentSpanId}"`)
  if (traceState !== undefined) {
    line.raw(',"traceState":')
    line.quoted(traceState)
  }
  line.raw(',"name":')
  line.quoted(name.slice(0, MAX_TEXT))
  line.raw(`,"kind":${KINDS[kind]},"startTimeUnixNano":"${nanoseconds(start)}","endTimeUnixNano":"${nanoseconds(end)}"`)
  line.raw(',"attributes":[')
  let first = true
  for (const [key, value] of attributes) {
    if (value === undefined) continue
    line.raw(first ? '{"key":' : ',{"key":')
    first = false
    line.quoted(key)
    line.raw(',"value":')
    putValue(line, value, whole.has(key) ? Number.POSITIVE_INFINITY : MAX_TEXT)
    line.raw('}')
  }
  line.raw(failed ? `],"status":{"code":${FAILED}}}` : ']}')
}

function putValue(line: JsonBytes, value: AttributeValue, max: number): void {
  if (typeof value !== 'string') return line.raw(JSON.stringify(otlpValue(value)))
  line.raw('{"stringValue":')
  line.quoted(value.length > max ? value.slice(0, max) : value)
  line.raw('}')
}

function otlpValue(value: AttributeValue): object {
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  // 64 bits, which numbers of JSON need not have.
  if (typeof value === 'number') return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value }
  if ('double' in value) return { doubleValue: value.double }
  return { arrayValue: { values: value.map(text => ({ stringValue: text.slice(0, MAX_TEXT) })) } }
}

/** Of milliseconds with fractions: as a number it would lose its last digits. */
function nanoseconds(ms: number): string {
  const whole = Math.floor(ms)
  return `${whole}${String(Math.floor((ms - whole) * 1e6)).padStart(6, '0')}`
}
