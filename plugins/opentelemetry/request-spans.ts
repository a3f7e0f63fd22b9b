// The spans of one request: its own, and one for each time that it is sent to somebody; knows no collector.
import type { Attempt, Context } from '../../core/context.ts'
import { type Exchange, exchange } from '../../core/llm/exchange.ts'
import { responseSource } from '../../core/observe/measures.ts'
import { phasesOf } from '../../core/observe/trace/phases.ts'
import {
  dropTrace,
  type Incoming,
  type Propagator,
  traceparent,
  writeOutgoing,
} from '../../core/observe/trace/propagation.ts'
import type { Attributes, Span, SpanIds } from '../../core/observe/trace/span.ts'
import type { RequestTrace, SentTo } from '../../core/observe/trace.ts'
import { type CallFacts, type Capture, callFacts, content } from './gen-ai.ts'
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
  /** What of calls to LLMs is kept. */
  readonly capture: Capture
  /** Phases have spans, too. */
  readonly phases: boolean
  /** Whether logs may know the trace. */
  readonly shows: boolean
}

interface Sent {
  /** Which of the request's attempts it is. */
  readonly at: number
  readonly spanId: string
  readonly tick: number
  /** The call to an LLM that it is; its facts are known when it is over. */
  call: { facts: CallFacts; endTick: number } | 'under way' | undefined
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
    const call = to === 'llm' ? exchange.get(ctx) : undefined
    if (call !== undefined) this.#follow(ctx, call)
    this.#sent.push({ at: ctx.attempts.length, spanId, tick: performance.now(), call: call && 'under way' })
    if (to === 'upstream' || toLlm) this.#write(ctx, spanId)
  }

  /** Every try is told of when it is over: what is known of it then is forgotten when the next begins. */
  #follow(ctx: Context, call: Exchange): void {
    if (this.#sent.some(({ call: earlier }) => earlier !== undefined)) return
    const { capture } = this.#options
    call.keepsText ||= capture.output
    call.over.push(() => {
      const last = this.#sent.at(-1)
      if (last?.call !== 'under way') return
      const { name, attributes, failed } = callFacts(ctx, call, ctx.attempts[last.at], this.#sent.length - 1)
      const facts = { name, failed, attributes: [...attributes, ...content(ctx, call, capture)] }
      last.call = { facts, endTick: performance.now() }
    })
  }

  /** All spans, once the request is over. `extra` is what the configuration adds to the first. */
  *spans(ctx: Context, extra: Attributes): Iterable<Span> {
    const { incoming, traceId, traceState, phases, ids } = this.#options
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
    for (const { name, hooks, from, to } of phases ? phasesOf(ctx) : []) {
      yield {
        ...of,
        spanId: ids.span(),
        parentSpanId: this.#spanId,
        name: `apisix.phase.${name}`,
        kind: 'internal',
        start: this.#time(ctx, from),
        end: this.#time(ctx, to),
        attributes: [['sluice.hooks', hooks]],
        failed: false,
      }
    }
    for (const [resent, { at, spanId, tick, call }] of this.#sent.entries()) {
      const attempt = ctx.attempts[at]
      if (typeof call === 'object') {
        const { facts, endTick } = call
        yield {
          ...of,
          ...facts,
          spanId,
          parentSpanId: this.#spanId,
          kind: 'client',
          start: this.#time(ctx, tick),
          end: this.#time(ctx, endTick),
        }
        continue
      }
      // What could not be sent left no record.
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
  return fault === 'client_gone' ? false : fault !== undefined || (status ?? 0) >= 400
}
