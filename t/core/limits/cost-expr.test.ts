// cost_expr: Lua's arithmetic, and nothing else.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { CostExprError, compileCostExpr } from '../../../core/limits/cost-expr.ts'

const usage: Record<string, number> = { prompt_tokens: 10, completion_tokens: 20 }
const cost = (text: string) => compileCostExpr(text)(name => usage[name] ?? 0)

describe('a cost expression', () => {
  for (const [text, expected] of [
    ['prompt_tokens + completion_tokens * 2', 50],
    ['(prompt_tokens + completion_tokens) * 2', 60],
    ['prompt_tokens - completion_tokens - 1', 0],
    ['10 - 4 - 3', 3],
    ['2 ^ 3 ^ 2 / 256', 2],
    ['-2 ^ 2 + 10', 6],
    ['2 ^ -1 * 10', 5],
    ['-7 % 3', 2],
    ['7 % 4', 3],
    ['1.5', 2],
    ['2.4', 2],
    ['.5e1', 5],
    ['unknown + 1', 1],
    ['math.max(prompt_tokens, 3, completion_tokens)', 20],
    ['floor(2.9) + ceil(0.1) + abs(-3) + min(4, 5)', 10],
    ['prompt_tokens > 5 and 100 or 1', 100],
    ['prompt_tokens ~= 10 and 100 or 1', 1],
    ['not (prompt_tokens == 10) and 100 or 7', 7],
    ['max', undefined],
    ['nil or 4', 4],
  ] as const) {
    if (expected !== undefined) it(`makes ${expected} of ${text}`, () => assert.equal(cost(text), expected))
    else it(`refuses ${text}`, () => assert.throws(() => cost(text), CostExprError))
  }

  for (const text of [
    '',
    '1 +',
    '(1',
    '1)',
    '1 2',
    'a = 1',
    'os.time()',
    'a.b',
    'f(1)',
    '"x"',
    'and',
    '1 or',
    '$x',
    'x[1]',
  ]) {
    it(`refuses ${text || 'nothing'}`, () => assert.throws(() => cost(text), CostExprError))
  }

  it('refuses what comes out as no finite number', () => {
    for (const text of ['1 / 0', '0 / 0', 'prompt_tokens > 1', 'nil', '1 + nil', 'true + 1', 'math.huge'])
      assert.throws(() => cost(text), CostExprError, text)
  })

  it('refuses what is too long or nested too deeply', () => {
    assert.throws(() => cost('1+'.repeat(3_000) + 1), /longer/)
    assert.throws(() => cost('('.repeat(1_000) + 1 + ')'.repeat(1_000)), /nested/)
    assert.throws(() => cost(`${'-'.repeat(1_000)}1`), /nested/)
  })

  it('calculates as JavaScript does where both have the operator', () => {
    const leaf = fc.oneof(fc.nat(99).map(String), fc.constantFrom('prompt_tokens', 'completion_tokens'))
    const expr = fc.letrec<{ e: string }>(tie => ({
      e: fc.oneof(
        { depthSize: 'small' },
        leaf,
        fc.tuple(tie('e'), fc.constantFrom('+', '-', '*'), tie('e')).map(([a, sign, b]) => `(${a} ${sign} ${b})`),
        fc.tuple(tie('e'), fc.constantFrom('+', '-', '*'), leaf).map(([a, sign, b]) => `${a} ${sign} ${b}`),
      ),
    })).e
    fc.assert(
      fc.property(expr, text => {
        const own = new Function('prompt_tokens', 'completion_tokens', `return ${text}`)(10, 20) as number
        assert.equal(cost(text), Math.max(0, own))
      }),
      { seed: 9, numRuns: 300 },
    )
  })

  it('reads or refuses whatever it is given', () => {
    const piece = fc.constantFrom('1', 'a', '(', ')', '+', '-', '^', 'and', 'or', 'not', 'max', ',', '.', '<', '%', ' ')
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), pieces => {
        try {
          assert.ok(cost(pieces.join(' ')) >= 0)
        } catch (error) {
          assert.ok(error instanceof CostExprError, String(error))
        }
      }),
      { seed: 9, numRuns: 2_000 },
    )
  })
})
