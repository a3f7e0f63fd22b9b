// Limits one after the other, without a turn of the queue where nothing has to be waited for; knows no limit.
import { LedgerError } from '../ledger/ledger.ts'
import type { Awaitable } from '../plugin.ts'

/** The first thing that `visit` gives; the rest is not visited then. A promise only when one of the visits gave one. */
export function firstOf<T, R>(
  all: readonly T[],
  visit: (each: T, at: number) => Awaitable<R | undefined>,
  from = 0,
): Awaitable<R | undefined> {
  for (let at = from; at < all.length; at++) {
    const found = visit(all[at]!, at)
    if (found instanceof Promise) return found.then(result => result ?? firstOf(all, visit, at + 1))
    if (found !== undefined) return found
  }
  return undefined
}

export function after<T, R>(value: Awaitable<T>, use: (value: T) => Awaitable<R>): Awaitable<R> {
  return value instanceof Promise ? value.then(use) : use(value)
}

/** What `run` gives, or `instead` when a ledger could not tell. */
export function unlessUncounted<R>(run: () => Awaitable<R>, instead: (error: LedgerError) => R): Awaitable<R> {
  const failed = (error: unknown): R => {
    if (error instanceof LedgerError) return instead(error)
    throw error
  }
  try {
    const result = run()
    return result instanceof Promise ? result.catch(failed) : result
  } catch (error) {
    return failed(error)
  }
}
