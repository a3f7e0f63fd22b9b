// What a request may cost before it is sent, and what it has cost where the provider does not say; knows no budget.
import type { LearnedOutput } from '../../core/budgets/learned-output.ts'
import type { Context } from '../../core/context.ts'
import { type Charge, worstCase } from '../../core/llm/charge.ts'
import type { Exchange, Sending, Usage } from '../../core/llm/exchange.ts'

export interface ReservePolicy {
  readonly bytesPerToken: number
  readonly defaultOutput: number
  /** Infinity without one. */
  readonly outputAtMost: number
  readonly learned: LearnedOutput | undefined
}

/** At most, as far as bytes tell. Embeddings have no output that is paid for. */
export function worstOf({ body, bytes, spoken }: Sending, { bytesPerToken, defaultOutput }: ReservePolicy): Usage {
  const worst = worstCase(body, bytes, { spoken, bytesPerToken, output: defaultOutput })
  const hasOutput = spoken !== 'openai-embeddings' && spoken !== 'vertex-predict'
  return hasOutput ? worst : withOutput(worst, 0)
}

/** Probably: no more output than is usual for this principal and model, or than anybody is thought to need. */
export function expectedOf(worst: Usage, { outputAtMost, learned }: ReservePolicy, key: string): Usage {
  const usual = learned?.expected(key) ?? Number.POSITIVE_INFINITY
  return withOutput(worst, Math.min(worst.completion, outputAtMost, usual))
}

/** By which outputs are learned. */
export function outputKey(principal: string, model: unknown): string {
  return `${principal} ${String(model)}`
}

/** An answer of which the provider says nothing, and of which no text is known, costs what its bytes tell: never nothing. */
export function unsaid(ctx: Context, { cutBy }: Exchange, { bytes }: Sending, worst: Usage): Charge | undefined {
  const last = ctx.attempts.at(-1)
  if (cutBy !== undefined || (last?.status ?? 500) >= 400) return undefined
  const completion = Math.min(worst.completion, Math.ceil((last?.bytesReceived ?? 0) / 4))
  return { usage: withOutput({ ...worst, prompt: Math.max(1, Math.ceil(bytes / 4)) }, completion), estimated: true }
}

/** An estimate that is no more than what was asked for. */
export function within(usage: Usage, worst: Usage): Usage {
  const bounded = { ...usage, prompt: Math.min(usage.prompt, worst.prompt) }
  return withOutput(bounded, Math.min(usage.completion, worst.completion))
}

export function withOutput(usage: Usage, completion: number): Usage {
  return { ...usage, completion, total: usage.prompt + completion }
}
