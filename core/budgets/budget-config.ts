// Budgets as configurations have them: schema, check, and what they mean; knows no plugin and no request.
import type { Infer, Schema } from '../plugin.ts'
import type { Budget } from './budget.ts'
import { nanoOf } from './money.ts'
import { windowOf, windowProblem, windowSchema } from './windows.ts'

/** Tokens as an integer; money as a decimal in the currency of the metadata. */
const amount = {
  anyOf: [
    { type: 'number', minimum: 0 },
    { type: 'string', pattern: '^\\d{1,7}(\\.\\d{1,9})?$' },
  ],
} as const satisfies Schema

export const budgetSchema = {
  type: 'object',
  properties: {
    // One budget wherever it is named.
    name: { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' },
    principal: {
      anyOf: [
        { type: 'string', enum: ['consumer', 'consumer_group', 'credential', 'route'] },
        {
          type: 'object',
          properties: { expression: { type: 'string', minLength: 1, maxLength: 1024 } },
          required: ['expression'],
          additionalProperties: false,
        },
      ],
    },
    unit: { type: 'string', enum: ['tokens', 'money'], default: 'tokens' },
    // Without it spending is metered and never refused.
    cap: amount,
    overshoot: amount,
    window: windowSchema,
    // Only requests that ask for one of these, or that one of these serves; `gpt-4o*` is every name that begins so.
    models: { type: 'array', minItems: 1, items: { type: 'string', minLength: 1, maxLength: 256 } },
    // `shadow` meters, and tells what it would have refused.
    mode: { type: 'string', enum: ['enforce', 'shadow'], default: 'enforce' },
  },
  required: ['name', 'principal', 'window'],
  additionalProperties: false,
} as const satisfies Schema

export type BudgetConfig = Infer<typeof budgetSchema>

/** What the schema cannot say, or nothing. */
export function budgetProblem(config: BudgetConfig): string | undefined {
  const { name, unit, cap, overshoot, models = [] } = config
  for (const [key, value] of Object.entries({ cap, overshoot })) {
    if (value === undefined || amountOf(unit, value) !== undefined) continue
    const wanted = unit === 'tokens' ? 'a whole number' : 'money with at most nine decimals, below nine million'
    return `budget ${name}: ${key} is not ${wanted}`
  }
  if (overshoot !== undefined && cap === undefined) return `budget ${name}: overshoot without a cap`
  const star = models.find(model => model.slice(0, -1).includes('*'))
  if (star !== undefined) return `budget ${name}: models: ${star} has a * that is not its end`
  const problem = windowProblem(config.window)
  return problem === undefined ? undefined : `budget ${name}: ${problem}`
}

/** `config` has passed `budgetProblem`. */
export function budgetOf({ name, unit, cap, overshoot = 0, window }: BudgetConfig, currency: string): Budget {
  return {
    name,
    unit: unit === 'tokens' ? 'tokens' : { currency },
    cap: cap === undefined ? undefined : amountOf(unit, cap)!,
    overshoot: amountOf(unit, overshoot)!,
    window: windowOf(window),
  }
}

/** More than this, and a sum of caps is not exact any more. */
const MOST = 2 ** 51

function amountOf(unit: BudgetConfig['unit'], value: number | string): number | undefined {
  const amount = unit === 'money' ? nanoOf(value) : Number(value)
  return amount !== undefined && Number.isSafeInteger(amount) && amount <= MOST ? amount : undefined
}
