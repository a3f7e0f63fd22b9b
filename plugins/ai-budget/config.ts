// The configuration of ai-budget: its schema, what the schema cannot say, and its budgets as rules for requests; counts nothing.
import type { Budget, Period } from '../../core/budgets/budget.ts'
import { type BudgetConfig, budgetOf, budgetProblem, budgetSchema } from '../../core/budgets/budget-config.ts'
import { principalOf } from '../../core/budgets/principal.ts'
import { periodsOf } from '../../core/budgets/windows.ts'
import type { Context } from '../../core/context.ts'
import { backingProblem, redisAttributes } from '../../core/limits/backing.ts'
import type { Infer, Schema } from '../../core/plugin.ts'

export const schema = {
  type: 'object',
  properties: {
    budgets: { type: 'array', minItems: 1, maxItems: 32, items: budgetSchema },
    // How much is reserved for a request.
    reserve: {
      type: 'object',
      properties: {
        // Of the request's body; no prompt is larger than with 1.
        bytes_per_token: { type: 'integer', minimum: 1, maximum: 16, default: 4 },
        // The output of a request that does not say how much it wants at most.
        default_output: { type: 'integer', minimum: 1, default: 4096 },
        // The same is asked of the provider, so that it is true.
        limit_output: { type: 'boolean', default: false },
        // Where a budget may be overshot, no more output than this is expected.
        output_at_most: { type: 'integer', minimum: 1 },
        // The same, as it was learned: this share of a principal's answers by a model was no longer.
        learned: {
          type: 'object',
          properties: {
            quantile: { type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 1, default: 0.95 },
            after: { type: 'integer', minimum: 1, default: 20 },
          },
          additionalProperties: false,
        },
      },
      additionalProperties: false,
      default: {},
    },
    // A stream pays as it goes, and ends in good order where no budget pays for more.
    stop_at_cap: { type: 'boolean', default: false },
    // What a call costs whose client left before its usage was known.
    on_abandon: { type: 'string', enum: ['delivered', 'reserved', 'zero'], default: 'delivered' },
    show_budget_header: { type: 'boolean', default: true },
    policy: { type: 'string', enum: ['local', 'redis', 'redis-cluster', 'redis-sentinel'], default: 'local' },
    allow_degradation: { type: 'boolean', default: false },
  },
  required: ['budgets'],
  ...redisAttributes,
} as const satisfies Schema

export type Config = Infer<typeof schema>

export function problem(config: Config): string | undefined {
  const names = config.budgets.map(({ name }) => name)
  const twice = names.find((name, at) => names.indexOf(name) < at)
  if (twice !== undefined) return `budgets: ${twice} is there twice`
  for (const budget of config.budgets) {
    const wrong = budgetProblem(budget)
    if (wrong !== undefined) return wrong
  }
  return backingProblem(config)
}

export interface FieldNames {
  readonly limit: string
  readonly remaining: string
  readonly reset: string
}

/** One budget as it applies to requests. */
export interface Rule {
  readonly budget: Budget
  readonly shadow: boolean
  /** Undefined where nobody pays: the budget does not apply. */
  principal(ctx: Context): string | undefined
  /** Whether it applies to a request that asks for the one model, and is served by the other. */
  concerns(asked: unknown, served: unknown): boolean
  period(now: number): Period
  readonly fields: FieldNames | undefined
}

export function rulesOf({ budgets, show_budget_header: shows }: Config, currency: string): Rule[] {
  return budgets.map(config => {
    const budget = budgetOf(config, currency)
    const field = (what: string) => `X-AI-Budget-${what}-${budget.name}`
    return {
      budget,
      shadow: config.mode === 'shadow',
      principal: principalOf(config.principal),
      concerns: concerning(config.models),
      period: periodsOf(budget.window),
      fields: shows ? { limit: field('Limit'), remaining: field('Remaining'), reset: field('Reset') } : undefined,
    }
  })
}

function concerning(models: BudgetConfig['models']): Rule['concerns'] {
  if (models === undefined) return () => true
  const exact = new Set(models)
  const beginnings = models.filter(model => model.endsWith('*')).map(model => model.slice(0, -1))
  const is = (model: unknown) =>
    typeof model === 'string' && (exact.has(model) || beginnings.some(beginning => model.startsWith(beginning)))
  return (asked, served) => is(asked) || is(served)
}
