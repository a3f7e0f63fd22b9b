// Tokens as events of a stream report them, put together; knows no protocol's names for them.
import type { Usage } from './exchange.ts'

/**
 * What the numbers of an event count: everything since the beginning of the answer, or what came since the event before.
 * Taken for the other, an absolute number would be charged many times, and of deltas only the last.
 */
export type Counting = 'absolute' | 'delta'

/** Usage of one event joined to that of the events before. What an event does not say, or says is 0, changes nothing. */
export function mergeUsage(before: Usage | undefined, now: Usage, counting: Counting = 'absolute'): Usage {
  if (before === undefined) return now
  const merged: Usage = { ...before }
  for (const key of Object.keys(now) as (keyof Usage)[]) {
    if (counting === 'delta') merged[key] += now[key]
    else if (now[key] > 0) merged[key] = now[key]
  }
  merged.total = Math.max(merged.total, merged.prompt + merged.completion)
  return merged
}

/** A number of tokens as a provider gives it; 0 for anything that is none. */
export function tokens(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : 0
}
