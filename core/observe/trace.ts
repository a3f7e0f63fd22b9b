// A request's trace as those see it who send the request on, and those who log it; knows neither spans nor the wire.
import { type Context, slot } from '../context.ts'

/** Who a request goes to: the operator's own upstream, or an LLM provider, who is somebody else. */
export type SentTo = 'upstream' | 'llm'

export interface RequestTrace {
  /** What logs may know of it; undefined where that was not asked for. */
  readonly shown: { readonly traceparent: string; readonly traceId: string; readonly spanId: string } | undefined
  /** The request is about to be sent once: from now on its header fields say which attempt that is. */
  beginAttempt(ctx: Context, to: SentTo): void
}

/** Set by whoever traces; undefined on requests that nobody does. */
export const requestTrace = slot<RequestTrace>()
