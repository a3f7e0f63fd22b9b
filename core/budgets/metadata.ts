// What all uses of budgets share: the currency and its prices, and who is told when much of one is spent; knows no budget.
import { checkHeaders, checkSinkUrl } from '../observe/http-sink.ts'
import type { Infer, Schema } from '../plugin.ts'
import { pricesProblem, pricesSchema } from './prices.ts'

/** Of the plugin's metadata. */
export const budgetMetadata = {
  type: 'object',
  properties: {
    // ISO 4217: all prices are in it, and all budgets of money.
    currency: { type: 'string', pattern: '^[A-Z]{3}$', default: 'USD' },
    prices: pricesSchema,
    // Percent of a cap, what was topped up included. Each is told of once per period.
    thresholds: {
      type: 'array',
      items: { type: 'integer', minimum: 1, maximum: 100 },
      maxItems: 10,
      default: [80, 100],
    },
    webhook: {
      type: 'object',
      properties: {
        uri: { type: 'string', minLength: 1 },
        auth_header: { type: 'string' },
        // Seconds.
        timeout: { type: 'integer', minimum: 1, maximum: 60, default: 3 },
        ssl_verify: { type: 'boolean', default: true },
      },
      required: ['uri'],
      additionalProperties: false,
    },
  },
} as const satisfies Schema

export type BudgetMetadata = Infer<typeof budgetMetadata>

/** What is encrypted at rest. */
export const budgetSecrets = ['webhook.auth_header'] as const

/** What the schema cannot say, or nothing. */
export function budgetMetadataProblem({ prices = [], webhook }: BudgetMetadata): string | undefined {
  const wrong = pricesProblem(prices)
  if (wrong !== undefined || webhook === undefined) return wrong
  return checkSinkUrl(webhook.uri) ?? checkHeaders({ auth_header: webhook.auth_header ?? '' })
}

/** Who is told when much of a budget is spent. */
export interface Alerts {
  /** Percent, the lowest first. */
  readonly thresholds: readonly number[]
  readonly webhook: BudgetMetadata['webhook']
}

export function alertsOf(metadata: BudgetMetadata | undefined): Alerts {
  const { thresholds = [80, 100], webhook } = metadata ?? {}
  return { thresholds: [...new Set(thresholds)].sort((one, other) => one - other), webhook }
}
