// What a ledger is: amounts taken from limits by key, for good or until they are settled or released; knows no request and no plugin.

/** What may be taken under a key. The key's count is the same whatever the limit says at the moment: it may differ from take to take. */
export type Limit =
  /** `limit` per window, which begins with the first take and lasts `windowMs`. */
  | { readonly kind: 'fixed_window'; readonly limit: number; readonly windowMs: number }
  /** `limit` per window of the clock, where the window before counts by as much of it as still reaches into `windowMs` (facts core 8.3.6). */
  | { readonly kind: 'sliding_window'; readonly limit: number; readonly windowMs: number }
  /** At most `limit` at once, refilled by `rate` a second. */
  | { readonly kind: 'token_bucket'; readonly limit: number; readonly rate: number }
  /** `rate` a second flow off; at most `limit` may wait, each for its turn: `delayMs` (facts core 8.3.7). */
  | { readonly kind: 'leaky_bucket'; readonly limit: number; readonly rate: number }
  /** At most `limit` that are neither settled nor released. Only tickets count. */
  | { readonly kind: 'slots'; readonly limit: number }
  /** `limit` for ever, and what was granted on top. */
  | { readonly kind: 'balance'; readonly limit: number }
  /** The same until `endMs`, in milliseconds since the epoch: another period is another key. What is settled later still counts here. */
  | { readonly kind: 'period'; readonly limit: number; readonly endMs: number }

export type LimitKind = Limit['kind']

export interface Wish {
  /** How much is taken when there is room; not negative. */
  readonly amount: number
  /** How much room there must be; `amount` without it. 0 takes in any case; 1 with an amount of 0 looks whether any is left. */
  readonly need?: number
  /** Take it until the ticket is settled or released, instead of for good. */
  readonly ticket?: boolean
}

export interface Taken {
  readonly allowed: boolean
  /** What may be taken after this; never negative. */
  readonly remaining: number
  /** What counts after this, taken for good or not; of a leaky bucket, how much waits. */
  readonly used: number
  /** As much of it is taken by tickets, and may be free again. */
  readonly reserved: number
  /** By how much what counts exceeds the limit: limits change, wishes may need nothing, and tickets settle for more than they took. */
  readonly excess: number
  /** Milliseconds until the window ends, or the bucket has nothing to forget; Infinity for a balance. */
  readonly resetMs: number
  /** Milliseconds that whoever has taken should wait, so that a leaky bucket flows evenly; else 0. */
  readonly delayMs: number
  /** When refused: after how many milliseconds the same wish may be granted at the latest, if nobody else takes; Infinity for never, 0 for nobody knows. */
  readonly retryMs: number
  /** When allowed and asked for. */
  readonly ticket: Ticket | undefined
}

/** Something taken that must be ended. The first of `settle` and `release` ends it; every later call does nothing. Neither rejects. */
export interface Ticket {
  /** `actual` was used, whatever was taken: it counts for good, in the window that is now; the rest is free. */
  settle(actual: number): Awaitable<void>
  /** Nothing was used: what was taken is free. */
  release(): Awaitable<void>
}

/** One of several that are taken together, each from another key. */
export interface Taking {
  readonly key: string
  readonly limit: Limit
  /** An amount of 0 without a ticket only looks, and makes no place for a key that nobody has used. */
  readonly wish: Wish
}

export interface TakenTogether {
  /** All of them, or nothing was taken. */
  readonly allowed: boolean
  /** In the order of the wishes. `allowed` says of each whether there was room in this one. None has a ticket of its own. */
  readonly each: readonly Taken[]
  /** When allowed: one for all that asked for one. */
  readonly ticket: SharedFate | undefined
}

/** A ticket for several keys: all are settled or all are released, once. Neither rejects. */
export interface SharedFate {
  /** What was used of each, in the order of the wishes; what is said of those without a ticket means nothing. */
  settle(actuals: readonly number[]): Awaitable<void>
  release(): Awaitable<void>
}

/** What counts under a key now. */
export interface Standing {
  readonly used: number
  readonly reserved: number
  /** On top of the limit; only of balances and periods. */
  readonly granted: number
}

/** What an operator changes: `by` so much, which may be negative, or `to` so much. Nothing falls below 0. */
export interface Adjustment {
  readonly what: 'used' | 'granted'
  readonly by?: number
  readonly to?: number
}

/** Throws, or rejects with, LedgerError when it cannot tell. */
export interface Ledger {
  /** Looks and takes as one step, whoever else does at the same time. */
  take(key: string, limit: Limit, wish: Wish): Awaitable<Taken>
  /**
   * Takes all wishes as one step, or none. Keys must differ. In a cluster of Redis all must begin with the same name in
   * braces, as `{budget}`: their node is chosen by it.
   */
  takeAll(takings: readonly Taking[]): Awaitable<TakenTogether>
  /** Takes nothing, and makes no place for a key that nobody has used. */
  look(key: string, limit: Limit): Awaitable<Standing>
  /** Returns how it stands then. */
  adjust(key: string, limit: Limit, change: Adjustment): Awaitable<Standing>
}

type Awaitable<T> = T | Promise<T>

/** Why a ledger cannot tell: no place for another key or ticket, or it is not there. */
export class LedgerError extends Error {
  readonly reason: 'full' | 'away'

  constructor(reason: 'full' | 'away', message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'LedgerError'
    this.reason = reason
  }
}

/** A sum that has swallowed no number is lost for ever. */
export function mustBeAmount(amount: number): void {
  if (!(amount >= 0 && amount < Number.POSITIVE_INFINITY)) throw new RangeError(`a ledger does not count ${amount}`)
}

/** Of keys that are taken together: none twice, for its room would be looked at twice and taken once. */
export function mustDiffer(takings: readonly Taking[]): void {
  for (const { wish } of takings) mustBeAmount(wish.amount)
  if (new Set(takings.map(({ key }) => key)).size < takings.length)
    throw new RangeError('a key is taken from twice at once')
}
