// A guard behind the call: which filter an answer goes through (facts ai-plugins 15.5, 16.4, 17.4); knows no service.
import type { Context } from '../../context.ts'
import { type EventFilter, Refused } from '../answer-event.ts'
import type { Exchange } from '../exchange.ts'
import { type Batching, type Guarded, inParts, markedAtEnd } from './answer-filters.ts'
import type { AnswerKinds } from './answer-texts.ts'
import { type GuardPolicy, Judging, type Opinion } from './judging.ts'

export interface AnswerGuard {
  readonly policy: GuardPolicy
  readonly kinds: AnswerKinds
  /** How streams are judged: part by part, or marked at their end. Whole answers are one part. */
  readonly streams: Batching | 'marked'
  look(ctx: Context, text: string): Promise<Opinion>
}

export function guardAnswer(ctx: Context, call: Exchange, { policy, kinds, streams, look }: AnswerGuard): EventFilter {
  const guarded: Guarded = {
    judging: new Judging(ctx, call, { side: 'response', streams: call.streaming }, policy),
    kinds,
    look: text => look(ctx, text),
    unknown() {
      const reason = `the answers of ${call.protocol} cannot be read`
      if (policy.guarding.skips(ctx, 'response', reason)) throw new Refused(501, 'texts_unknown', reason)
    },
  }
  if (streams === 'marked') return markedAtEnd(guarded)
  // Where verdicts have no effect there is nothing to wait for.
  return inParts(guarded, policy.watches ? { ...streams, holds: false } : streams)
}
