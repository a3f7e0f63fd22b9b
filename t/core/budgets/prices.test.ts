// Prices: which one applies when, and arithmetic that loses nothing.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  costOf,
  mostCostOf,
  type PriceRow,
  PriceTable,
  pricesProblem,
  pricesSchema,
} from '../../../core/budgets/prices.ts'
import { type Parts, partsOf } from '../../../core/llm/charge.ts'
import { validator } from '../../../core/schema.ts'

const row = (model: string, input: number | string, more: Partial<PriceRow> = {}): PriceRow => ({
  model,
  input,
  output: 10,
  ...more,
})

const none: Parts = { input: 0, cachedInput: 0, cacheWrite: 0, output: 0, reasoning: 0 }
const parts = fc.record({
  input: fc.nat(5_000_000),
  cachedInput: fc.nat(5_000_000),
  cacheWrite: fc.nat(5_000_000),
  output: fc.nat(500_000),
  reasoning: fc.nat(500_000),
})
const price = fc.record({
  input: fc.nat(500_000_000_000),
  cachedInput: fc.nat(500_000_000_000),
  cacheWrite: fc.nat(500_000_000_000),
  output: fc.nat(500_000_000_000),
  reasoning: fc.nat(500_000_000_000),
})

/** The input's price in whole units per million, by which rows are told apart. */
const inputOf = (table: PriceTable, model: string, provider = 'openai', at = 0) => {
  const found = table.find(model, provider, at)
  return found && found.input / 1e9
}

describe('a table of prices', () => {
  it('knows a model by its whole name, then by its longest beginning, and within each this provider first', () => {
    const table = new PriceTable([
      row('*', 1),
      row('gpt-*', 2),
      row('gpt-4o*', 3),
      row('gpt-4o*', 4, { provider: 'azure-openai' }),
      row('gpt-4o', 5),
    ])
    assert.equal(inputOf(table, 'gpt-4o'), 5)
    assert.equal(inputOf(table, 'gpt-4o', 'azure-openai'), 5)
    assert.equal(inputOf(table, 'gpt-4o-mini'), 3)
    assert.equal(inputOf(table, 'gpt-4o-mini', 'azure-openai'), 4)
    assert.equal(inputOf(table, 'gpt-3.5'), 2)
    assert.equal(inputOf(table, 'claude'), 1)
    assert.equal(inputOf(new PriceTable([row('gpt-4o', 1)]), 'claude'), undefined)
    assert.equal(inputOf(new PriceTable([row('gpt-4o', 1, { provider: 'other' })]), 'gpt-4o'), undefined)
  })

  it('changes at the very moment that is named, and what began before keeps its price', () => {
    const change = Date.parse('2026-07-01T00:00:00+02:00')
    const table = new PriceTable([row('m', 2, { from: '2026-07-01T00:00:00+02:00' }), row('m', 1)])
    assert.equal(inputOf(table, 'm', 'p', change - 1), 1)
    assert.equal(inputOf(table, 'm', 'p', change), 2)
    const only = new PriceTable([row('m', 2, { from: '2026-07-01T00:00:00+02:00' })])
    assert.equal(inputOf(only, 'm', 'p', change - 1), undefined)
  })

  it('says what is wrong with it', () => {
    assert.equal(
      pricesProblem([row('m', 1), row('m', 2, { provider: 'p' }), row('m', 1, { from: '2026-01-01T00:00:00Z' })]),
      undefined,
    )
    assert.match(pricesProblem([row('m', 1), row('m', 2)]) ?? '', /prices\[1\]: there are two prices/)
    const sameMoment = ['2026-01-01T01:00:00+01:00', '2026-01-01T00:00:00Z'].map(from => row('m', 1, { from }))
    assert.match(pricesProblem(sameMoment) ?? '', /two prices/)
    assert.match(pricesProblem([row('m', 1e-10)]) ?? '', /prices\[0\]\.input: .*nine decimals/)
    assert.match(pricesProblem([row('a*b', 1)]) ?? '', /\* may stand at the end/)
  })

  it('has a schema that takes numbers and decimals in text, and nothing else', () => {
    const { check } = validator(pricesSchema)
    assert.equal(check([row('m', 0.075), row('m', '2.50', { from: '2026-01-01T00:00:00Z' })]), undefined)
    for (const bad of [row('m', -1), row('m', '1,5'), row('m', 1, { from: 'yesterday' }), { model: 'm', input: 1 }])
      assert.notEqual(check([bad]), undefined, JSON.stringify(bad))
    assert.notEqual(check([{ ...row('m', 1), outptu: 1 }]), undefined)
  })
})

describe('what tokens cost', () => {
  it('is what a table of prices by hand says', () => {
    const [found] = [new PriceTable([row('m', '2.50', { cached_input: '0.25', reasoning: 20 })]).find('m', '', 0)!]
    const cost = costOf({ ...none, input: 1_000, cachedInput: 4_000, output: 200, reasoning: 100 }, found)
    // 1,000 x 2.50 + 4,000 x 0.25 + 200 x 10 + 100 x 20 per million = 0.0075
    assert.equal(cost, 7_500_000)
    // What has no price of its own costs what its whole costs.
    assert.equal(costOf({ ...none, cacheWrite: 1_000_000 }, found), 2_500_000_000)
  })

  it('is the exact sum of its parts, rounded up once and by less than a nano-unit', () => {
    fc.assert(
      fc.property(parts, price, (tokens, price) => {
        const exact = (Object.keys(none) as (keyof Parts)[]).reduce(
          (sum, part) => sum + BigInt(tokens[part]) * BigInt(price[part]),
          0n,
        )
        const cost = costOf(tokens, price)
        assert.ok(Number.isSafeInteger(cost))
        const over = BigInt(cost) * 1_000_000n - exact
        assert.ok(over >= 0n && over < 1_000_000n, `${over} millionths too much`)
      }),
      { numRuns: 300, seed: 13 },
    )
  })

  it('of many charges is at most a nano-unit a charge above that of all their tokens at once, and never below', () => {
    fc.assert(
      fc.property(fc.array(parts, { minLength: 1, maxLength: 20 }), price, (charges, price) => {
        const sum = charges.reduce((sum, tokens) => sum + costOf(tokens, price), 0)
        const all = { ...none }
        for (const tokens of charges)
          for (const part of Object.keys(none) as (keyof Parts)[])
            Object.assign(all, { [part]: all[part] + tokens[part] })
        const whole = costOf(all, price)
        assert.ok(sum >= whole && sum < whole + charges.length, `${sum} and ${whole}`)
      }),
      { numRuns: 300, seed: 13 },
    )
  })

  it('is never more than was said to be the most, whatever the parts are', () => {
    const counts = fc.record({
      prompt: fc.nat(5_000_000),
      completion: fc.nat(500_000),
      cacheRead: fc.nat(6_000_000),
      cacheCreation: fc.nat(6_000_000),
      reasoning: fc.nat(600_000),
    })
    fc.assert(
      fc.property(counts, price, (usage, price) => {
        const tokens = partsOf({ ...usage, total: 0 }, 'openai-chat')
        assert.equal(tokens.input + tokens.cachedInput + tokens.cacheWrite, usage.prompt)
        assert.equal(tokens.output + tokens.reasoning, usage.completion)
        assert.ok(costOf(tokens, price) <= mostCostOf(usage, price))
      }),
      { numRuns: 300, seed: 13 },
    )
  })

  it('takes the cache out of the prompt, or beside it where the provider counts it so', () => {
    const usage = { prompt: 100, completion: 50, total: 150, cacheRead: 30, cacheCreation: 20, reasoning: 10 }
    const rest = { cachedInput: 30, cacheWrite: 20, output: 40, reasoning: 10 }
    assert.deepEqual(partsOf(usage, 'openai-chat'), { input: 50, ...rest })
    for (const protocol of ['anthropic-messages', 'bedrock-converse'] as const)
      assert.deepEqual(partsOf(usage, protocol), { input: 100, ...rest })
  })

  it('is a number too large to be spent when a provider reports nonsense', () => {
    const most = Number.MAX_SAFE_INTEGER
    assert.equal(costOf({ ...none, input: 1e300 }, { ...none, input: 1 }), most)
    assert.equal(costOf({ ...none, input: 0.5 }, { ...none, input: 1_000_000 }), 1)
  })
})
