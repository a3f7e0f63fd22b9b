// What one budget has to do with one attempt: its claim, and amounts in its unit; knows no ledger.
import type { Claim } from '../../core/budgets/account.ts'
import { mostCostOf, type Price } from '../../core/budgets/prices.ts'
import type { Usage } from '../../core/llm/exchange.ts'
import type { Rule } from './config.ts'

export interface Share {
  readonly rule: Rule
  readonly claim: Claim
}

/** In tokens, or in money whatever parts of it turn out to be the dear ones: then there is a price. */
export function amountOf({ budget }: Rule, usage: Usage, price: Price | undefined): number {
  return budget.unit === 'tokens' ? usage.total : mostCostOf(usage, price!)
}

/** What counts as spent while the request is under way. */
export function reservedOf({ account, expected, worst }: Claim): number {
  return account.budget.overshoot > 0 ? expected : worst
}
