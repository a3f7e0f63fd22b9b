// One call to an LLM: whom to ask, and whom to ask next, until an answer has begun; what a try is stands in attempt.ts.
import type { Context, Upstream } from '../context.ts'
import { discard, type Reply } from '../reply.ts'
import { type CallLimits, tryTarget } from './attempt.ts'
import type { CallServices } from './attempt-books.ts'
import { clientBody } from './client-body.ts'
import { exchange as exchangeSlot } from './exchange.ts'
import type { Failed } from './outcome.ts'
import type { Target } from './target.ts'

/** Whom one request asks, in which order. */
export interface Course {
  readonly first: Target
  /** Whether somebody else may be asked if this fails: until its first content, nothing of its stream leaves then. */
  readonly hasMore: boolean
  /** Whom to ask after that failure, or what the client gets instead. */
  after(failure: Failed): Target | Reply | Promise<Target | Reply>
}

export interface Means {
  limits: CallLimits
  services: CallServices
}

/** Makes the upstream that asks `target` and nobody else. The request must carry an exchange (`openExchange`). */
export function llmCall(target: Target, limits: CallLimits, services: CallServices): Upstream {
  const means = { limits, services }
  return { send: ctx => call(ctx, { first: target, hasMore: false, after: failure => given(ctx, failure) }, means) }
}

/** Asks one target after the other until an answer has begun, or `course` says what to tell the client. */
export async function call(ctx: Context, course: Course, { limits, services }: Means): Promise<Reply> {
  const known = exchangeSlot.get(ctx)
  if (known === undefined) throw new Error('an LLM call without an exchange')
  const client = await clientBody(ctx)
  for (let target = course.first; ; ) {
    const outcome = await tryTarget(ctx, known, client, { target, limits, services, holdsStart: course.hasMore })
    known.tries.at(-1)!.status = outcome.begun ? outcome.reply.status : outcome.status
    if (outcome.begun) return outcome.reply
    const next = await course.after(outcome)
    if ('status' in next) return next
    if (outcome.reply !== undefined) discard(outcome.reply, new Error('another instance is asked'))
    target = next
  }
}

/** What the client gets when nobody else is asked. Throws what no protocol has words for. */
export function given(ctx: Context, { reply, error }: Failed): Reply {
  if (reply === undefined) throw error
  ctx.error ??= error
  return reply
}
