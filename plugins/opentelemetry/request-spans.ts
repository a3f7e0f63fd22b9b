// The spans of one request: its own, and one for each time that it is sent to somebody; knows no collector.
import type { Attempt, Context } from '../../core/context.ts'
import { responseSource } from '../../core/observe/measures.ts'
import {
  dropTrace,
  type Incoming,
  type Propagator,
  traceparent,
  writeOutgoing,
} from '../../core/observe/trace/propagation.ts'
import type { Attributes, Span, SpanIds } from '../../core/observe/trace/span.ts'
import type { RequestTrace, SentTo } from '../../core/observe/trace.ts'
import { clientAttributes, serverAttributes } from './http-attributes.ts'

export interface RequestSpansOptions {
  readonly ids: SpanIds
  readonly traceId: string
  readonly incoming: Incoming | undefined
  readonly traceState: string | undefined
  /** Spans are recorded. */
  readonly sampled: boolean
  /** The fields in which the next in line is told. */
  readonly forms: readonly Propagator[]
  readonly toLlm: boolean
  /** Whether logs may know the trace. */
  readonly shows: boolean
}

interface Sent {
  /** Which of the request's attempts it is. */
  readonly at: number
  readonly spanId: string
  readonly tick: number
}

export class RequestSpans implements RequestTrace {
  readonly shown: RequestTrace['shown']
  readonly #options: RequestSpansOptions
  readonly #spanId: string
  readonly #sent: Sent[] = []

  constructor(options: RequestSpansOptions) {
    this.#options = options
    const { ids, traceId, shows } = options
    this.#spanId = ids.span()
    if (shows) this.shown = { traceId, spanId: this.#spanId, traceparent: traceparent(this.#outgoing(this.#spanId)) }
  }

  get sampled(): boolean {
    return this.#options.sampled
  }

  /** The request's own span stands in its fields, for whoever is asked before the upstream is. */
  announce(ctx: Context): void {
    this.#write(ctx, this.#spanId)
  }

  beginAttempt(ctx: Context, to: SentTo): void {
    const { sampled, ids, toLlm } = this.#options
    if (to === 'llm' && !toLlm) dropTrace(ctx.request.headers)
    if (!sampled) return
    const spanId = ids.span()
    this.#sent.push({ at: ctx.attempts.length, spanId, tick: performance.now() })
    if (to === 'upstream' || toLlm) this.#write(ctx, spanId)
  }

  /** All spans, once the request is over. `extra` is what the configuration adds to the first. */
  *spans(ctx: Context, extra: Attributes): Iterable<Span> {
    const { incoming, traceId, traceState } = this.#options
    const { request, route, reply } = ctx
    const of = { traceId, traceState }
    yield {
      ...of,
      spanId: this.#spanId,
      parentSpanId: incoming?.spanId,
      name: route === undefined ? request.method : `${request.method} ${route.matchedUri}`,
      kind: 'server',
      start: ctx.start,
      end: this.#time(ctx, ctx.endTick),
      attributes: [...serverAttributes(ctx, responseSource(ctx)), ...extra],
      failed: (reply?.status ?? 0) >= 500 || ctx.ending === 'broken',
    }
    for (const [resent, { at, spanId, tick }] of this.#sent.entries()) {
      const attempt = ctx.attempts[at]
      // What was never sent, because there was no proof or no connection to be had, left no record.
      if (attempt === undefined) continue
      yield {
        ...of,
        spanId,
        parentSpanId: this.#spanId,
        name: ctx.outbound.method ?? request.method,
        kind: 'client',
        start: this.#time(ctx, tick),
        end: this.#time(ctx, attempt.responseMs === undefined ? ctx.endTick : tick + attempt.responseMs),
        attributes: clientAttributes(ctx, attempt, resent),
        failed: hasFailed(attempt),
      }
    }
  }

  /** Milliseconds since the epoch of a time on the monotonic clock. */
  #time(ctx: Context, tick: number): number {
    return ctx.start + Math.max(0, tick - ctx.startTick)
  }

  #write(ctx: Context, spanId: string): void {
    const span = this.#outgoing(spanId)
    for (const form of this.#options.forms) writeOutgoing(ctx.request.headers, form, span)
  }

  #outgoing(spanId: string) {
    const { traceId, sampled, incoming } = this.#options
    const parentSpanId = spanId === this.#spanId ? incoming?.spanId : this.#spanId
    return { traceId, spanId, parentSpanId, sampled, debug: incoming?.debug }
  }
}

function hasFailed({ status, fault }: Attempt): boolean {
  return fault !== undefined || (status ?? 0) >= 400
}
