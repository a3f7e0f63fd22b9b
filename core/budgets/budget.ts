// What a budget is, and where in the ledger an account of it stands; knows no request, no price and no clock.

/** Tokens, or nano-units (1e-9) of a currency: amounts are safe integers, not negative. */
export type Unit = 'tokens' | { readonly currency: string }

/** Every window has a beginning and an end that the clock alone tells, so that a restart and other gateways agree on them. */
export type Window =
  /** For ever. */
  | { readonly kind: 'balance' }
  /** So many seconds, one after the other since 1970. */
  | { readonly kind: 'rolling'; readonly seconds: number }
  /** As the calendar has it in that time zone (IANA); weeks begin on Monday. */
  | { readonly kind: 'calendar'; readonly every: 'day' | 'week' | 'month'; readonly timeZone: string }

/** A window as it is at one moment. Milliseconds since the epoch; a balance is from 0 to Infinity. */
export interface Period {
  readonly start: number
  readonly end: number
}

/** One for every principal of a kind, each with an account of its own. Budgets of one name are one budget, wherever they are written. */
export interface Budget {
  readonly name: string
  readonly unit: Unit
  /** Undefined: spending is metered and never refused. */
  readonly cap: number | undefined
  /** By how much spending may exceed the cap at most, because reservations are smaller than the worst case; 0: not at all. */
  readonly overshoot: number
  readonly window: Window
}

/** One principal's share of a budget in one period. */
export interface Account {
  readonly budget: Budget
  /** As people know it: `consumer:jack`. */
  readonly principal: string
  readonly period: Period
}

// In Redis, what stands within the braces says on which node of a cluster a key is: what is taken together must be on one.
const FAMILY = '{budget}'

/** Where what is spent and reserved of an account is counted. */
export function spendKey(account: Account): string {
  return keyOf(account, `${account.period.start}`)
}

/** Where the worst that its open reservations may come to is counted too; only where `overshoot` is more than 0. */
export function worstKey(account: Account): string {
  return keyOf(account, `${account.period.start}/worst`)
}

/** Whatever counts here is a freeze: nothing is granted while it is more than 0, in any period. */
export function frozenKey(account: Pick<Account, 'budget' | 'principal'>): string {
  return keyOf(account, 'frozen')
}

function keyOf({ budget, principal }: Pick<Account, 'budget' | 'principal'>, what: string): string {
  return `${FAMILY}/${budget.name}/${principal}/${what}`
}
