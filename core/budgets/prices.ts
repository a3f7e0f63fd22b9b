// What a call to an LLM costs: a table of prices by model, provider and time, and exact arithmetic on tokens; knows no budget.
import type { Parts } from '../llm/charge.ts'
import type { Usage } from '../llm/exchange.ts'
import type { Infer, Schema } from '../plugin.ts'
import { type Nano, nanoOf } from './money.ts'

const decimal = {
  anyOf: [
    { type: 'number', minimum: 0 },
    { type: 'string', pattern: '^\\d{1,7}(\\.\\d{1,9})?$' },
  ],
} as const

/** Of the plugin's metadata: prices per million tokens, in its currency. */
export const pricesSchema = {
  type: 'array',
  maxItems: 10_000,
  items: {
    type: 'object',
    properties: {
      // `gpt-4o`, or `gpt-4o*` for every name that begins so.
      model: { type: 'string', minLength: 1, maxLength: 256 },
      provider: { type: 'string', minLength: 1, maxLength: 256 },
      // Since when; for ever without it.
      from: { type: 'string', format: 'date-time' },
      input: decimal,
      output: decimal,
      // What these are, where a price is not theirs: parts of the input, and of the output.
      cached_input: decimal,
      cache_write: decimal,
      reasoning: decimal,
    },
    required: ['model', 'input', 'output'],
    additionalProperties: false,
  },
} as const satisfies Schema

export type PriceRow = Infer<typeof pricesSchema>[number]

/** Nano-units per million tokens of each part. */
export type Price = { readonly [part in keyof Parts]: Nano }

interface Version {
  /** Milliseconds since the epoch. */
  readonly from: number
  readonly price: Price
}

const MILLION = 1_000_000n

/** What tokens cost, rounded up once to a whole nano-unit. */
export function costOf(tokens: Parts, price: Price): Nano {
  return rounded(
    product(tokens.input, price.input) +
      product(tokens.cachedInput, price.cachedInput) +
      product(tokens.cacheWrite, price.cacheWrite) +
      product(tokens.output, price.output) +
      product(tokens.reasoning, price.reasoning),
  )
}

/** What so many tokens cost at most, whatever parts they turn out to be. */
export function mostCostOf({ prompt, completion }: Pick<Usage, 'prompt' | 'completion'>, price: Price): Nano {
  return rounded(
    product(prompt, Math.max(price.input, price.cachedInput, price.cacheWrite)) +
      product(completion, Math.max(price.output, price.reasoning)),
  )
}

/** Providers may report any number. */
function product(tokens: number, price: Nano): bigint {
  return BigInt(Math.ceil(tokens)) * BigInt(price)
}

function rounded(sum: bigint): Nano {
  const cost = (sum + MILLION - 1n) / MILLION
  return cost < BigInt(Number.MAX_SAFE_INTEGER) ? Number(cost) : Number.MAX_SAFE_INTEGER
}

/** What the schema cannot say of a table, or nothing. */
export function pricesProblem(rows: readonly PriceRow[]): string | undefined {
  const seen = new Set<string>()
  for (const [at, row] of rows.entries()) {
    for (const key of ['input', 'output', 'cached_input', 'cache_write', 'reasoning'] as const) {
      const value = row[key]
      if (value !== undefined && nanoOf(value) === undefined)
        return `prices[${at}].${key}: a price has at most nine decimals and is below nine million`
    }
    if (row.model.slice(0, -1).includes('*')) return `prices[${at}].model: * may stand at the end only`
    const name = JSON.stringify([row.model, row.provider, fromOf(row)])
    if (seen.has(name)) return `prices[${at}]: there are two prices for the same model, provider and time`
    seen.add(name)
  }
  return undefined
}

export class PriceTable {
  /** Versions, the latest first, by model, or by its beginning with a star behind it; then by provider, '' for any. */
  readonly #versions = new Map<string, Map<string, Version[]>>()
  /** Lengths of the beginnings, the longest first. */
  readonly #lengths: readonly number[]

  /** `rows` have passed `pricesProblem`. */
  constructor(rows: readonly PriceRow[]) {
    for (const row of rows) {
      const { model, provider = '' } = row
      const providers = this.#versions.get(model) ?? new Map<string, Version[]>()
      this.#versions.set(model, providers)
      const versions = providers.get(provider) ?? []
      providers.set(provider, versions)
      versions.push({ from: fromOf(row), price: priceOf(row) })
      versions.sort((one, other) => other.from - one.from)
    }
    const beginnings = [...this.#versions.keys()].filter(model => model.endsWith('*'))
    this.#lengths = [...new Set(beginnings.map(({ length }) => length - 1))].sort((one, other) => other - one)
  }

  /**
   * The price that applies to a request that begins `at` (milliseconds since the epoch); undefined without one. The whole
   * name goes before its longest beginning, within a name this provider before any. One look per length of a beginning.
   */
  find(model: string, provider: string, at: number): Price | undefined {
    const found = this.#of(model, provider, at)
    if (found !== undefined) return found
    for (const length of this.#lengths) {
      if (length > model.length) continue
      const price = this.#of(`${model.slice(0, length)}*`, provider, at)
      if (price !== undefined) return price
    }
    return undefined
  }

  #of(model: string, provider: string, at: number): Price | undefined {
    const providers = this.#versions.get(model)
    return providers && (then(providers.get(provider), at) ?? then(providers.get(''), at))
  }
}

function then(versions: readonly Version[] | undefined, at: number): Price | undefined {
  return versions?.find(({ from }) => from <= at)?.price
}

function fromOf({ from }: PriceRow): number {
  return from === undefined ? Number.NEGATIVE_INFINITY : Date.parse(from)
}

function priceOf({ input, output, cached_input, cache_write, reasoning }: PriceRow): Price {
  return {
    input: nanoOf(input)!,
    cachedInput: nanoOf(cached_input ?? input)!,
    cacheWrite: nanoOf(cache_write ?? input)!,
    output: nanoOf(output)!,
    reasoning: nanoOf(reasoning ?? output)!,
  }
}
