// EXPR as users of APISIX know it: what each operator says, and what is refused.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { checkExpr, compileExpr, ExprError } from '../../../core/router/expr.ts'

type Values = Record<string, unknown>
const holds = (expr: unknown, values: Values = {}) => compileExpr(expr).test(name => values[name])

describe('an expression', () => {
  it('is true when it is empty', () => {
    assert.equal(holds([]), true)
    assert.equal(holds({}), true)
  })

  const table: [expr: unknown, values: Values, result: boolean][] = [
    [[['a', '==', 'x']], { a: 'x' }, true],
    [[['a', '==', 'x']], { a: 'X' }, false],
    [[['a', '==', 5]], { a: '5.0' }, true],
    [[['a', '==', 5]], { a: '0x5' }, true],
    [[['a', '==', 0]], { a: '' }, false],
    [[['a', '==', 5]], { a: 'five' }, false],
    [[['a', '==', '5']], { a: 5 }, true],
    [[['a', '==', null]], {}, true],
    [[['a', '==', null]], { a: '' }, false],
    [[['a', '==', true]], { a: 'true' }, false],
    [[['a', '~=', 'x']], {}, true],
    [[['a', '~=', 5]], { a: 'five' }, true],
    [[['a', '~=', null]], { a: 'x' }, true],
    [[['a', '~=', null]], {}, false],
    [[['a', '>', 9]], { a: '10' }, true],
    [[['a', '>', '9']], { a: '10' }, true],
    [[['a', '>=', 10]], { a: '10' }, true],
    [[['a', '<', 10]], { a: '9' }, true],
    [[['a', '<=', 8]], { a: '9' }, false],
    [[['a', '<', 'z']], { a: 'a' }, false],
    [[['a', '<', 10]], {}, false],
    [[['a', '~~', '^/v[12]']], { a: '/v2/x' }, true],
    [[['a', '~~', 'abc']], { a: 'xABCx' }, false],
    [[['a', '~~', '(?i)abc']], { a: 'xABCx' }, true],
    [[['a', '~*', 'abc']], { a: 'xABCx' }, true],
    [[['a', '~~', '.*']], {}, false],
    [[['a', 'in', ['1', '2']]], { a: '1' }, true],
    [[['a', 'in', [1, 2]]], { a: '1' }, false],
    [[['a', 'IN', ['x']]], { a: 'x' }, true],
    [[['a', 'has', 'x']], { a: ['x', 'y'] }, true],
    [[['a', 'has', 'x']], { a: 'x' }, false],
    [[['a', 'ipmatch', '10.0.0.0/8']], { a: '10.1.2.3' }, true],
    [[['a', 'ipmatch', ['::1', '127.0.0.1']]], { a: '::1' }, true],
    [[['a', 'ipmatch', ['10.0.0.0/8']]], { a: '11.0.0.1' }, false],
    [[['a', 'ipmatch', ['10.0.0.0/8']]], { a: '010.0.0.1' }, false],
    [[['a', 'ipmatch', ['10.0.0.0/8']]], {}, false],
    [[['a', '!', '==', 'x']], { a: 'y' }, true],
    [[['a', '!', 'in', ['x']]], { a: 'x' }, false],
    [[['a', 'ABC']], { a: 'abc' }, true],
    [[['a', 'ABC']], { a: 'ABC' }, false],
    [[['a', 200]], { a: '200' }, true],
    [[['a', '~=']], { a: 'x' }, true],
    [
      [
        ['a', '==', 'x'],
        ['b', '==', 'y'],
      ],
      { a: 'x' },
      false,
    ],
    [['OR', ['a', '==', 'x'], ['b', '==', 'y']], { b: 'y' }, true],
    [['and', ['a', '==', 'x'], ['b', '==', 'y']], { b: 'y' }, false],
    [['!AND', ['a', '==', 'x'], ['b', '==', 'y']], { b: 'y' }, true],
    [['!OR', ['a', '==', 'x'], ['b', '==', 'y']], { b: 'y' }, false],
    [['AND', ['OR', ['a', '==', 'x'], ['b', '==', 'y']], ['c', '==', 'z']], { b: 'y', c: 'z' }, true],
    [
      [
        ['OR', ['a', '==', 'x'], ['b', '==', 'y']],
        ['c', '==', 'z'],
      ],
      { b: 'y' },
      false,
    ],
  ]
  for (const [expr, values, result] of table) {
    it(`${JSON.stringify(expr)} is ${result} of ${JSON.stringify(values)}`, () => {
      assert.equal(holds(expr, values), result)
    })
  }

  const refused: [expr: unknown, message: string | RegExp][] = [
    [['a', '==', 'x'], 'rule should be wrapped inside brackets'],
    [[['a', 'like', 'x']], "invalid operator 'like'"],
    [[['a', '!', 'like', 'x']], "invalid operator 'like'"],
    [[['a', 7, 'x']], "invalid operator '7'"],
    [[[]], 'rule too short'],
    [[['a']], 'rule too short'],
    [['OR', ['a', '==', 'x']], 'rule too short'],
    [[['a', '!', 'x']], "bad 'not' expression"],
    [[['a', '!']], "bad 'not' expression"],
    [[['a', 'ipmatch', '010.0.0.1']], 'invalid ip address'],
    [[['a', 'ipmatch', ['10.0.0.1/33']]], 'invalid ip address'],
    [[['a', 'ipmatch', []]], 'invalid ip address'],
    [[['a', 'in', 'x']], 'invalid expression'],
    [[['a', '==', 'x', 'y']], 'invalid expression'],
    [[['a', '==', { b: 1 }]], 'invalid expression'],
    [[1, 2], 'invalid expression'],
    [{ a: 1 }, 'invalid expression'],
    [null, 'missing argument rule'],
    ['a', 'missing argument rule'],
    [[['a', '~~', '(']], /^invalid regex "\(": /],
  ]
  for (const [expr, message] of refused) {
    it(`${JSON.stringify(expr)} is refused`, () => {
      assert.throws(() => compileExpr(expr), { name: 'ExprError', message })
      assert.match(checkExpr(expr)!, typeof message === 'string' ? /./ : message)
    })
  }

  it('says nothing against a good one', () => {
    assert.equal(checkExpr([['a', '==', 'x']]), undefined)
  })

  it('tells which variables it asks for', () => {
    const { names } = compileExpr([
      ['OR', ['a', '==', 'x'], ['post_arg.b', 'y']],
      ['c', '!', '==', 'z'],
    ])
    assert.deepEqual([...names], ['a', 'post_arg.b', 'c'])
  })

  it('runs no pattern while it is compiled', () => {
    const began = performance.now()
    const compiled = compileExpr([['a', '~~', '^(a+)+$']])
    assert.ok(performance.now() - began < 1_000)
    assert.equal(
      compiled.test(() => 'aaa'),
      true,
    )
  })

  it('is not kept by a value that is made to take long', () => {
    const began = performance.now()
    const compiled = compileExpr([['a', '~~', '^(a+)+$']])
    assert.equal(
      compiled.test(() => `${'a'.repeat(30_000)}b`),
      false,
    )
    assert.ok(performance.now() - began < 2_000)
  })

  it('is refused when it is nested without end', () => {
    let expr: unknown = ['a', '==', 'x']
    for (let depth = 0; depth < 50_000; depth++) expr = [expr]
    assert.throws(() => compileExpr(expr), ExprError)
  })

  it('says what is wrong with an operator that has no text', () => {
    assert.throws(() => compileExpr([['a', [{ toString: 0 }], 1]]), ExprError)
  })

  it('compiles or says why not, whatever JSON it is given', () => {
    const operand = fc.oneof(fc.jsonValue(), fc.constantFrom('!', '==', 'in', 'has', '~~', 'ipmatch', 'OR', 'and'))
    const { expr } = fc.letrec(tie => ({
      expr: fc.oneof({ maxDepth: 4 }, operand, fc.array(tie('expr'), { maxLength: 4 })),
    }))
    fc.assert(
      fc.property(expr, given => {
        let compiled: ReturnType<typeof compileExpr>
        try {
          compiled = compileExpr(given)
        } catch (error) {
          assert.ok(error instanceof ExprError)
          return
        }
        for (const value of [undefined, '', '1', 2, ['x']]) assert.equal(typeof compiled.test(() => value), 'boolean')
      }),
    )
  })
})
